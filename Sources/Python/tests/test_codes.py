# SPDX-License-Identifier: Apache-2.0
"""Decoding of codes, with NumPy only: against plain encoders and against the programs of Docs/Formats.md."""

import unittest

import numpy as np

from bitsfusion import codes, entropy, fields

from . import reference

LEVELS = [3, 5, 9, 17, 33, 65, 129, 255, 257]


def random_codes(count, levels, seed=0):
    """Codes of a rounded normal distribution, so that they have different frequencies."""
    values = np.random.default_rng(seed).normal((levels - 1) / 2, levels / 5, count)
    return np.clip(np.rint(values), 0, levels - 1).astype(np.int64)


class GroupTests(unittest.TestCase):
    def test_all_levels_and_last_groups(self):
        for levels in LEVELS:
            k, w = codes.RADIX[levels]
            n = (levels - 1).bit_length()
            for count in [1, k - 1, k, k + 1, 3 * k + 2, 8 * k, 8 * k + 1, 1003]:
                values = random_codes(max(1, count), levels)
                radix = reference.encode_groups(values, levels, k, w)
                fixed = radix if levels == 255 else reference.encode_groups(values, 1 << n, 1, n)
                for encoding, data in {"radix": radix, "fixed": fixed}.items():
                    with self.subTest(levels=levels, count=count, encoding=encoding):
                        found = codes.read_groups(data, values.size, levels, encoding)
                        self.assertEqual(found.dtype, np.uint16 if levels == 257 else np.uint8)
                        np.testing.assert_array_equal(found, values)

    def test_several_blocks(self):
        for levels in (3, 5, 9, 17):
            k, w = codes.RADIX[levels]
            block = np.random.default_rng(1).integers(0, levels, 8 * k)
            # Eight groups end at a byte, so that their bytes repeat.
            repeats = 2 * codes.BLOCK // 8 + 3
            data = np.tile(reference.encode_groups(block, levels, k, w), repeats)
            found = codes.read_groups(data, block.size * repeats, levels, "radix")
            np.testing.assert_array_equal(found, np.tile(block, repeats))

    def test_number_above_the_group(self):
        data = np.array([242, 243], np.uint8)
        self.assertEqual(codes.read_groups(data[:1], 5, 3, "radix").tolist(), [2] * 5)
        with self.assertRaisesRegex(codes.CodesError, "above 3\\^5"):
            codes.read_groups(data, 10, 3, "radix")

    def test_code_above_the_levels(self):
        with self.assertRaisesRegex(codes.CodesError, "below 3, found 3"):
            codes.read_groups(np.array([0b00001101], np.uint8), 4, 3, "fixed")

    def test_padding(self):
        self.assertEqual(codes.read_groups(np.array([0b00000110], np.uint8), 2, 3, "fixed").tolist(), [2, 1])
        with self.assertRaisesRegex(codes.CodesError, "padded"):
            codes.read_groups(np.array([0b00010110], np.uint8), 2, 3, "fixed")
        with self.assertRaisesRegex(codes.CodesError, "padded"):
            codes.read_groups(np.array([9], np.uint8), 2, 3, "radix")

    def test_number_of_bytes(self):
        with self.assertRaisesRegex(codes.CodesError, "expected 2 bytes"):
            codes.read_groups(np.zeros(1, np.uint8), 6, 3, "radix")


class EntropyTests(unittest.TestCase):
    def decode(self, data, count, levels):
        stream = entropy.Stream(data, count, levels)
        entropy.decode([stream])
        return stream.codes()

    def test_all_levels_and_lanes(self):
        read_entropy = reference.document_functions()["read_entropy"]
        for levels in LEVELS + [2, 4, 7]:
            for lanes in (1, 2, 16, 256):
                for count in (1, 17, 1000, 3000):
                    with self.subTest(levels=levels, lanes=lanes, count=count):
                        values = random_codes(count, levels, seed=count)
                        data = reference.encode_entropy(values, levels, lanes)
                        np.testing.assert_array_equal(read_entropy(data, count, levels), values)
                        np.testing.assert_array_equal(self.decode(data, count, levels), values)

    def test_streams_together(self):
        streams, expected = [], []
        for index in range(24):
            levels = LEVELS[index % len(LEVELS)]
            values = random_codes(1 + 331 * index, levels, seed=index)
            data = reference.encode_entropy(values, levels, 1 << index % 9, precision=9 + index % 6)
            streams.append(entropy.Stream(data, values.size, levels))
            expected.append(values)
        entropy.decode(streams)
        for stream, values in zip(streams, expected):
            np.testing.assert_array_equal(stream.codes(), values)

    def test_the_constant_layer_of_the_document(self):
        data = np.array([0x81, 0, 0, 0x0D, 0, 0, 0, 0, 1, 0], np.uint8)
        for count in (1, 2, 3, 100_000):
            self.assertEqual(set(self.decode(data, count, 5).tolist()), {2})

    def test_model_of_codes(self):
        # Weights 1, 2, 1 times 2^8 for L = 3: R = min(12, 50 // 5) = 10.
        read_entropy = reference.document_functions()["read_entropy"]
        numbers = [256, 512, 256]
        bits = []
        for number in numbers:
            bits += [number.bit_length() >> bit & 1 for bit in range(4)]
            bits += [number >> bit & 1 for bit in range(number.bit_length() - 1)]
        frequency = entropy._frequencies(numbers, 5, 12, 10)
        self.assertEqual(frequency.sum(), 1 << 12)
        # One lane; the states are chosen so that decoding backwards ends at 2^16.
        symbols, state, words = [121, 0, 242, 121, 40], 1 << 16, []
        start = np.cumsum(frequency) - frequency
        for symbol in reversed(symbols):
            f = int(frequency[symbol])
            if state >= f << 20:
                words.append(state & 0xFFFF)
                state >>= 16
            state = (state // f << 12) + state % f + int(start[symbol])
        data = np.concatenate([
            np.array([12 << 4 | 1, 0], np.uint8), np.packbits(np.array(bits, np.uint8), bitorder="little"),
            np.array([state], "<u4").view(np.uint8), np.array(words[::-1], "<u2").view(np.uint8)])
        expected = [symbol // 3**digit % 3 for symbol in symbols for digit in range(5)]
        self.assertEqual(read_entropy(data, 25, 3).tolist(), expected)
        self.assertEqual(self.decode(data, 25, 3).tolist(), expected)

    def test_damaged_streams(self):
        values = random_codes(3000, 5)
        data = reference.encode_entropy(values, 5, 16)
        cases = {
            "header": data[:1], "cut off": data[:40],
            "words|end": data[:-2], "does not end": reference.encode_entropy(values, 5, 16, words_after=1)}
        for text, damaged in cases.items():
            with self.subTest(text), self.assertRaisesRegex(entropy.StreamError, text):
                self.decode(damaged, 3000, 5)
        with self.assertRaisesRegex(entropy.StreamError, "padded with its last code"):
            self.decode(reference.encode_entropy(np.array([1, 1, 1, 2, 0, 1]), 5, 1), 5, 5)

    def test_changed_bytes_are_found(self):
        """Every changed byte is an error or changes codes; none is a crash or another exception."""
        values = random_codes(600, 9)
        data = reference.encode_entropy(values, 9, 4)
        errors = 0
        for at in range(data.size):
            damaged = data.copy()
            damaged[at] ^= 0x41
            try:
                self.assertLess(self.decode(damaged, 600, 9).max(), 9)
            except entropy.StreamError:
                errors += 1
        # Without checks at the end of the stream, most changes of words would not be found.
        self.assertGreater(errors, 0.9 * data.size)


class FieldTests(unittest.TestCase):
    def test_fields_hold_the_codes(self):
        """The layout that the module documents, read code by code."""
        for levels in LEVELS:
            for channels in (1, 4, 8, 13):
                values = random_codes(channels * 5, levels).reshape(channels, 5)
                parts = fields.pack(values.astype(np.uint16 if levels == 257 else np.uint8), levels)
                found, low = np.zeros_like(values), 0
                for width, part in zip(fields.part_widths(levels), parts):
                    rows = fields.segment(channels) * width
                    self.assertEqual(part.shape, (rows, 5))
                    for channel in range(channels):
                        field = part[channel % rows].astype(np.int64) >> width * (channel // rows) & (1 << width) - 1
                        found[channel] |= field << low
                    low += width
                np.testing.assert_array_equal(found, values)


if __name__ == "__main__":
    unittest.main()
