# SPDX-License-Identifier: Apache-2.0
"""Decode entropy-coded codes; see "Entropy coding" in Docs/Formats.md. Needs NumPy only.

A lane of a stream can only be decoded tuple by tuple. Each step below therefore decodes one tuple of every lane of all
streams: SD 1.5 has 258 streams with 22,000 lanes together, so that the overhead of NumPy's calls does not matter.
"""

import numpy as np

from . import memory

FIRST_STATE = 1 << 16
# Steps after which decoded tuples are copied to the arrays of their streams.
STEPS = 64


class StreamError(ValueError):
    """The bytes are not an entropy-coded stream of the expected codes; the text says why."""


def codes_per_tuple(levels):
    """The number of codes that form a tuple: the largest k with levels^k <= 256, at least 1."""
    k = 1
    while levels ** (k + 1) <= 256:
        k += 1
    return k


class Stream:
    """An entropy-coded stream whose first byte is not 0, that is, of model 1 or 2.

    Args:
        data: the stream, uint8 [bytes].
        count: the number of codes, at least 1.
        levels: the number of levels, 2 ... 257.

    Raises:
        StreamError: the header, the frequencies or the states are invalid.
    """

    def __init__(self, data, count, levels):
        if data.size < 2:
            raise StreamError("the header is cut off")
        self.levels, self.count, self.k = levels, count, codes_per_tuple(levels)
        self.tuples = -(-count // self.k)
        model, self.precision = int(data[0]) & 15, int(data[0]) >> 4
        is_known = model == 2 or model == 1 and self.k > 1
        if not is_known or not 8 <= self.precision <= 14 or data[1] > 8:
            raise StreamError(f"unknown header {int(data[0])}, {int(data[1])}")
        self.lanes = 1 << int(data[1])
        numbers, size = _read_numbers(data[2:], levels if model == 1 else levels**self.k)
        bits = min(12, 50 // self.k) if model == 1 else self.precision
        if sum(numbers) != 1 << bits:
            raise StreamError(f"the frequencies sum to {sum(numbers)}, expected {1 << bits}")
        self.frequency = _frequencies(numbers, self.k, self.precision, bits) if model == 1 else np.array(numbers)
        start = 2 + size
        if data.size < start + 4 * self.lanes or (data.size - start) % 2:
            raise StreamError("the states or words are cut off")
        self.states = data[start : start + 4 * self.lanes].view("<u4").astype(np.int64)
        if (self.states < FIRST_STATE).any():
            raise StreamError("a lane begins with a state below 2^16")
        self.words = data[start + 4 * self.lanes :].view("<u2")
        self.steps = self.tuples // self.lanes
        self.symbols = memory.empty((self.tuples,), np.uint8 if levels <= 256 else np.uint16)

    def table(self):
        """For each number 0 ... 2^P - 1 of the symbol that owns it, int64 [2^P].

        frequency << 32 | symbol << 16 | number - start
        """
        start = np.cumsum(self.frequency) - self.frequency
        owner = np.repeat(np.arange(self.frequency.size), self.frequency)
        return self.frequency[owner] << 32 | owner << 16 | np.arange(owner.size) - start[owner]

    def finish(self, states, position):
        """Decodes the last tuples, which do not fill a step of all lanes, and checks the end of the stream.

        Args:
            states: int64 [lanes], after `steps` steps.
            position: the number of words that were read.
        """
        rest, x = self.tuples - self.steps * self.lanes, states
        words = self.words[min(position, self.words.size) :].astype(np.int64)
        if rest:
            entry = self.table()[x[:rest] & (1 << self.precision) - 1]
            self.symbols[self.steps * self.lanes :] = entry >> 16 & 0xFFFF
            x[:rest] = (entry >> 32) * (x[:rest] >> self.precision) + (entry & 0xFFFF)
            short = np.flatnonzero(x[:rest] < FIRST_STATE)
            if short.size > words.size:
                raise StreamError("the words are cut off")
            x[short] = x[short] << 16 | words[: short.size]
            position += short.size
        if position != self.words.size or (x != FIRST_STATE).any():
            raise StreamError("the stream does not end with the last code")

    def codes(self, new_array=np.empty):
        """The decoded codes, uint8 [count], uint16 for 257 levels.

        Args:
            new_array: makes an array from shape and type.
        """
        if self.k == 1:
            return self.symbols
        # Division by a constant is vectorized; the rows of a table of tuples would be copied one by one.
        codes, rest = new_array((self.tuples, self.k), np.uint8), self.symbols
        for digit in range(self.k - 1):
            quotient = rest // np.uint8(self.levels)
            codes[:, digit] = rest - quotient * np.uint8(self.levels)
            rest = quotient
        codes[:, self.k - 1] = rest
        codes = codes.ravel()
        if (codes[self.count :] != codes[self.count - 1]).any():
            raise StreamError("the last tuple is not padded with its last code")
        return codes[: self.count]


def decode(streams):
    """Decodes the tuples of streams into their `symbols`.

    Raises:
        StreamError: with the attribute `stream`, the index of the stream.
    """
    # Streams with symbols of one byte first; only those of 257 levels have larger ones.
    for dtype in (np.uint8, np.uint16):
        indices = [index for index, stream in enumerate(streams) if stream.symbols.dtype == dtype]
        indices.sort(key=lambda index: -streams[index].steps)
        if not indices:
            continue
        states, positions = _decode_steps([streams[index] for index in indices])
        for index, state, position in zip(indices, states, positions):
            try:
                streams[index].finish(state, position)
            except StreamError as error:
                error.stream = index
                raise


def _decode_steps(streams):
    """Decodes the steps in which all lanes of a stream take part.

    Args:
        streams: sorted by `steps`, descending; their symbols have one type.

    Returns:
        the states of each stream, int64 [lanes], and the numbers of words that were read.
    """
    lanes = np.array([stream.lanes for stream in streams])
    ends = np.cumsum(lanes)
    begins = ends - lanes
    states = np.concatenate([stream.states for stream in streams])
    tables = [stream.table() for stream in streams]
    table_starts = np.repeat(np.cumsum([0] + [table.size for table in tables[:-1]]), lanes)
    table = np.concatenate(tables)
    precisions = np.repeat([stream.precision for stream in streams], lanes)
    # One more word, because lanes that need no word read one too.
    words = np.concatenate([stream.words for stream in streams] + [np.zeros(1, np.uint16)])
    word_counts = np.array([stream.words.size for stream in streams])
    first_words = np.cumsum(word_counts) - word_counts
    positions = first_words.copy()

    done = 0
    for active in range(len(streams), 0, -1):
        steps = streams[active - 1].steps - done
        if not steps:
            continue
        count = int(ends[active - 1])
        part = _Lanes(
            table, words, states[:count], precisions[:count], table_starts[:count], lanes[:active], positions[:active])
        symbols = np.empty((min(STEPS, steps), count), streams[0].symbols.dtype)
        for first in range(0, steps, STEPS):
            rows = symbols[: min(STEPS, steps - first)]
            if active == 1:
                part.decode_one_stream(rows)
            else:
                part.decode(rows)
            for stream, begin, end in zip(streams[:active], begins, ends):
                start = (done + first) * stream.lanes
                target = stream.symbols[start : start + len(rows) * stream.lanes].reshape(len(rows), stream.lanes)
                target[:] = rows[:, begin:end]
        done += steps
    return [states[begin:end] for begin, end in zip(begins, ends)], (positions - first_words).tolist()


class _Lanes:
    """All lanes of some streams. `states` [lanes] and `positions` [streams], the next words, are changed in place.

    Constants are arrays, because NumPy takes longer to convert a scalar than to process 256 elements.
    """

    def __init__(self, table, words, states, precision, table_start, lanes, positions):
        self.table, self.words, self.states, self.positions = table, words, states, positions
        self.precision, self.table_start, self.lanes = precision, table_start, lanes
        self.mask = (1 << precision) - 1
        self.last = np.cumsum(lanes) - 1
        count = states.size
        self.c16, self.c32, self.low, self.limit = (np.full(count, c) for c in (16, 32, 0xFFFF, FIRST_STATE))
        self.entry, self.work, self.read = (np.empty(count, np.int64) for _ in range(3))
        # Bits 16 ... 31 of an entry, or the lower half of them.
        self.symbol = {
            2: self.entry.view(np.uint16)[(1 if np.little_endian else 2) :: 4],
            1: self.entry.view(np.uint8)[(2 if np.little_endian else 5) :: 8]}
        self.word, self.short = np.empty(count, np.uint16), np.empty(count, bool)

    def _advance(self, row):
        """Decodes a symbol of each lane, without reading words; marks the lanes that must read one in `short`."""
        x, entry, work = self.states, self.entry, self.work
        np.bitwise_and(x, self.mask, work)
        np.add(work, self.table_start, work)
        self.table.take(work, out=entry, mode="clip")
        row[:] = self.symbol[row.itemsize]
        np.right_shift(x, self.precision, x)
        np.right_shift(entry, self.c32, work)
        np.multiply(x, work, x)
        np.bitwise_and(entry, self.low, entry)
        np.add(x, entry, x)
        np.less(x, self.limit, self.short)

    def decode(self, rows):
        """Decodes a symbol of each lane for each of `rows`, [steps, lanes]."""
        x, work, read, short, word = self.states, self.work, self.read, self.short, self.word
        before = np.zeros(self.lanes.size, np.int64)
        for row in rows:
            self._advance(row)
            # Lane i of a stream reads the word after those that the lanes before it read.
            np.add.accumulate(short, 0, np.int64, read)
            total = read[self.last]
            before[1:] = total[:-1]
            np.add(read, np.repeat(self.positions - before - 1, self.lanes), read)
            self.words.take(read, out=word, mode="clip")
            self.positions += total - before
            # Without branches: about half of the lanes read a word, which a processor cannot predict.
            np.multiply(word, short, word)
            np.multiply(short, self.c16, work)
            np.left_shift(x, work, x)
            np.bitwise_or(x, word, x)

    def decode_one_stream(self, rows):
        """The same for the lanes of one stream, with less work for each call."""
        x, short, position = self.states, self.short, int(self.positions[0])
        for row in rows:
            self._advance(row)
            lanes = short.nonzero()[0]
            words = self.words[position : position + lanes.size]
            if words.size < lanes.size:
                # The position is then not the end of the stream, which `Stream.finish` reports.
                break
            x[lanes] = x[lanes] << self.c16[: lanes.size] | words
            position += lanes.size
        self.positions[0] = position


def _read_numbers(data, count):
    """Numbers of 4 bits for their bit length b and b - 1 bits; returns them and the number of bytes that they take."""
    # A number takes at most 18 bits.
    bits = np.unpackbits(data[: -(-count * 18 // 8)], bitorder="little").tolist()
    numbers, at = [], 0
    for _ in range(count):
        size = sum(bit << index for index, bit in enumerate(bits[at : at + 4]))
        end = at + 4 + max(0, size - 1)
        if end > len(bits):
            raise StreamError("the frequencies are cut off")
        low = sum(bit << index for index, bit in enumerate(bits[at + 4 : end]))
        numbers.append((1 << size >> 1) + low)
        at = end
    size = -(-at // 8)
    if any(bits[at : 8 * size]):
        raise StreamError("the frequencies are not padded with zero bits")
    return numbers, size


def _frequencies(weights, k, precision, weight_bits):
    """The frequencies of tuples from the weights of codes, int64 [levels^k]."""
    products = weights
    for _ in range(k - 1):
        products = [high * low for high in weights for low in products]
    shared = (1 << precision) - sum(product > 0 for product in products)
    frequencies, total, previous = [], 0, 0
    for product in products:
        total += product
        end = total * shared >> weight_bits * k
        frequencies.append(end - previous + (product > 0))
        previous = end
    return np.array(frequencies)
