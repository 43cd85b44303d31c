#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes Sources/Models/Tokenizers/Resources/clip-merges.bin: the merges of OpenAI's CLIP vocabulary as pairs of ids.

Run by hand:  python scripts/make_clip_vocabulary.py bpe_simple_vocab_16e6.txt.gz

The argument is the file of https://github.com/openai/CLIP (clip/), which the package open_clip_torch contains too.
The ids 0..255 are the bytes in the order of GPT-2's byte-level characters, 256..511 the same at the end of a word,
512 + k the result of merge k. Merge k is stored as two little-endian 16-bit ids.
"""

import gzip
import pathlib
import struct
import sys

MERGES = 48894
OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "Sources/Models/Tokenizers/Resources/clip-merges.bin"


def byte_characters():
    """The characters that stand for the 256 bytes, in the order of their ids."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def main():
    lines = gzip.open(sys.argv[1]).read().decode().split("\n")
    # The first line is a comment; the file has more merges than the vocabulary.
    merges = [line.split() for line in lines[1:MERGES + 1]]
    characters = byte_characters()
    ids = {token: index for index, token in enumerate(characters + [character + "</w>" for character in characters])}
    packed = bytearray()
    for left, right in merges:
        packed += struct.pack("<HH", ids[left], ids[right])
        ids[left + right] = len(ids)
    assert len(ids) == 512 + MERGES, len(ids)
    OUTPUT.write_bytes(packed)
    print(OUTPUT.name, len(packed))


main()
