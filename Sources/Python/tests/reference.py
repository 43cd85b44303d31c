# SPDX-License-Identifier: Apache-2.0
"""What the tests share: fixtures, encoders that are slow and plain, and the programs of Docs/Formats.md."""

import importlib.util
import json
import lzma
import pathlib
import re
import tempfile

import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parents[2]


def has(*modules):
    return all(importlib.util.find_spec(module) for module in modules)


def fixture(name):
    """The packed file and what the program computes from it; the file is deleted with the returned folder."""
    folder = tempfile.TemporaryDirectory()
    path = pathlib.Path(folder.name, f"{name}.h5")
    path.write_bytes(lzma.decompress((FOLDER / "fixtures" / f"{name}.h5.xz").read_bytes()))
    return folder, path, json.loads((FOLDER / "fixtures" / f"{name}.json").read_text())


def document_functions():
    """The Python functions of Docs/Formats.md by name."""
    text = (ROOT / "Docs" / "Formats.md").read_text()
    names = {}
    for code in re.findall(r"<!-- snippet: \w+ -->\n```python\n(.*?)```", text, re.DOTALL):
        exec(code, names)
    return names


def encode_groups(codes, base, k, w, last_bits=None):
    """Groups of k digits in w bits each; `last_bits` are the bits of the last group if it is not full."""
    bits = []
    for first in range(0, len(codes), k):
        group = codes[first : first + k]
        number = sum(int(code) * base**digit for digit, code in enumerate(group))
        size = w if len(group) == k else last_bits or (base ** len(group) - 1).bit_length()
        bits += [number >> bit & 1 for bit in range(size)]
    return np.packbits(np.array(bits, np.uint8), bitorder="little")


def encode_entropy(codes, levels, lanes, precision=11, words_after=0):
    """A stream of model 2 with a given number of lanes, a power of two.

    Args:
        words_after: words to append, for damaged streams.
    """
    k = max([1] + [k for k in range(2, 9) if levels**k <= 256])
    padded = np.concatenate([codes, np.full(-len(codes) % k, codes[-1])]).astype(np.int64)
    symbols = (padded.reshape(-1, k) * levels ** np.arange(k)).sum(axis=1)
    counts = np.bincount(symbols, minlength=levels**k)
    # Each symbol that occurs gets at least one number.
    frequency = (counts > 0).astype(np.int64) + counts * ((1 << precision) - np.count_nonzero(counts)) // counts.sum()
    frequency[counts.argmax()] += (1 << precision) - frequency.sum()
    start = np.cumsum(frequency) - frequency
    states, words = [1 << 16] * lanes, []
    for index in range(len(symbols) - 1, -1, -1):
        f, lane = int(frequency[symbols[index]]), index % lanes
        if states[lane] >= f << (32 - precision):
            words.append(states[lane] & 0xFFFF)
            states[lane] >>= 16
        quotient, rest = divmod(states[lane], f)
        states[lane] = (quotient << precision) + rest + int(start[symbols[index]])
    bits = []
    for number in map(int, frequency):
        size = number.bit_length()
        bits += [size >> bit & 1 for bit in range(4)] + [number >> bit & 1 for bit in range(size - 1)]
    return np.concatenate([
        np.array([precision << 4 | 2, lanes.bit_length() - 1], np.uint8),
        np.packbits(np.array(bits, np.uint8), bitorder="little"),
        np.array(states, "<u4").view(np.uint8),
        np.array(words[::-1] + [0] * words_after, "<u2").view(np.uint8)])
