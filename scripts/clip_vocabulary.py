# SPDX-License-Identifier: Apache-2.0
"""The files of a tokenizer folder with OpenAI's CLIP vocabulary, made of its list of merges."""

import gzip
import json
import pathlib
import struct

# Pairs of ids, see make_clip_vocabulary.py.
MERGES = pathlib.Path(__file__).resolve().parent.parent / "Sources/Models/Tokenizers/Resources/clip-merges.bin"
COUNT = 48894
START, END = "<|startoftext|>", "<|endoftext|>"


def byte_tokens():
    """The tokens of the 256 bytes, and of the bytes that end a word."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = [chr(byte) for byte in printable] + [chr(256 + index) for index in range(256 - len(printable))]
    return characters + [character + "</w>" for character in characters]


def read_merges(path):
    """The pairs of tokens of clip-merges.bin, of a merges.txt, or of bpe_simple_vocab_16e6.txt.gz."""
    if path.suffix == ".bin":
        tokens, merges = byte_tokens(), []
        for left, right in struct.iter_unpack("<HH", path.read_bytes()):
            merges.append((tokens[left], tokens[right]))
            tokens.append(tokens[left] + tokens[right])
    else:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        # The first line is a comment; OpenAI's file has more merges than the vocabulary.
        merges = [tuple(line.split()) for line in text.split("\n")[1:COUNT + 1]]
    if len(merges) != COUNT or any(len(merge) != 2 for merge in merges):
        raise ValueError(f"{path}: expected {COUNT} pairs of tokens, found {len(merges)} lines")
    return merges


def vocabulary(merges):
    """The tokens in the order of their ids."""
    return [*byte_tokens(), *map("".join, merges), START, END]


def files(merges, pad):
    """The texts of the files of a tokenizer folder, by name."""
    token = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    special = {name: {"content": text, **token}
               for name, text in {"bos_token": START, "eos_token": END, "unk_token": END}.items()}
    return {
        "vocab.json": json.dumps(
            {text: index for index, text in enumerate(vocabulary(merges))}, ensure_ascii=False, separators=(",", ":")),
        "merges.txt": "\n".join(["#version: 0.2", *map(" ".join, merges), ""]),
        "special_tokens_map.json": json.dumps(special | {"pad_token": pad}, indent=2) + "\n",
        # This file says `<|endoftext|>` also where special_tokens_map.json has another token, which is the one used.
        "tokenizer_config.json": json.dumps(
            {"add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": 77,
             "pad_token": END, "tokenizer_class": "CLIPTokenizer"}
            | {name: {"__type": "AddedToken", **value} for name, value in special.items()}, indent=2) + "\n"}
