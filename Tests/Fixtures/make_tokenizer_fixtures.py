# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/TokenizersTests/Fixtures/clip-tokenizer.json: token ids of transformers' CLIPTokenizer.

Run by hand:  python Tests/Fixtures/make_tokenizer_fixtures.py      (transformers 5.24.0)

The vocabulary is the committed resource clip-merges.bin. 10,000 texts are made by a formula that the tests repeat
(GeneratedText.swift); their ids are stored as one CRC-32 per block of 100 texts.
"""

import json
import os
import pathlib
import struct
import tempfile
import zlib

os.environ["HF_HUB_OFFLINE"] = "1"

from transformers import CLIPTokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OUTPUT = ROOT / "Tests/TokenizersTests/Fixtures/clip-tokenizer.json"
START, END = "<|startoftext|>", "<|endoftext|>"
TEXTS, BLOCK, LENGTH = 10_000, 100, 77

ATOMS = {
    "words": """a an the of in on with and by at photo painting portrait of landscape castle dragon astronaut riding
        horse mountains sunset ocean forest cyberpunk city street cat dog kitten girl man woman robot detailed highly
        intricate cinematic lighting volumetric 8k uhd trending artstation unreal engine octane render masterpiece
        best quality watercolor oil canvas sketch pencil van gogh greg rutkowski bokeh macro lens f1.8 35mm""".split(),
    "punctuation": list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    "contractions": ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'Re", "’s", "''s", "'sa", "'lla", "'"],
    "emoji": ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇯🇵", "1️⃣", "❤️", "❤", "👩🏿‍🚀", "🐈‍⬛", "🧑‍🤝‍🧑", "☺️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"],
    "specials": [START, END, "<|STARTOFTEXT|>", "<|EndOfText|>", "</w>", "a</w>", "<|", "|>", "<|endoftext", "!", "!!!",
                 "<|endoftext|><|endoftext|>", "<|startoftext|", "[PAD]", "<unk>"],
    "controls": ["\0", "\1", "\b", "\x1b", "\x1c", "\x1f", "\x7f", "\x80", "\x9f", "\xad", "\u180e", "\u200b", "\u200c",
                 "\u200d", "\u200e", "\u2060", "\ufeff", "\ufffd", "\ufffe", "\U000e0001"],
    "spaces": ["\t", "\n", "\v", "\f", "\r", "\r\n", "\x85", "\xa0", "\u1680", "\u2000", "\u2001", "\u2003", "\u2009",
               "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "  ", " \t\n "],
    "cased": ["İstanbul", "ıI", "STRAẞE", "Straße", "ΣΊΣΥΦΟΣ", "ǅ", "ﬁne", "Ω", "K", "ŉ", "ΐ", "Ⅷ", "ⓐⒶ", "Å", "Å",
              "Å", "ḍ̇", "ḍ̇", "각", "각", "e\u0301\u0323", "Ⴀ", "Ꭰ", "ꭰ", "Ა", "ა", "𐐀", "Ǆ", "ǆ"],
    # Blocks whose assigned characters have been stable for years.
    "ranges": [[0xA0, 0x24F], [0x250, 0x2FF], [0x370, 0x3FF], [0x400, 0x52F], [0x531, 0x58F], [0x591, 0x5F4],
               [0x600, 0x6FF], [0x900, 0x97F], [0xE00, 0xE5B], [0x10A0, 0x10FF], [0x1100, 0x11FF], [0x13A0, 0x13FF],
               [0x1D00, 0x1DBF], [0x1E00, 0x1FFF], [0x2000, 0x206F], [0x2070, 0x20BF], [0x2100, 0x218B],
               [0x2190, 0x23FF], [0x2460, 0x27BF], [0x2C00, 0x2C7F], [0x3000, 0x30FF], [0x3130, 0x318E],
               [0x3200, 0x33FF], [0x4E00, 0x9FFF], [0xA640, 0xA69F], [0xA722, 0xA7BF], [0xAB70, 0xABBF],
               [0xAC00, 0xD7A3], [0xE000, 0xF8FF], [0xF900, 0xFAD9], [0xFB00, 0xFB06], [0xFB1D, 0xFB4F],
               [0xFE00, 0xFE0F], [0xFF01, 0xFFEE], [0x10400, 0x1049D], [0x1D400, 0x1D7FF], [0x1F100, 0x1F1FF],
               [0x1F300, 0x1F64F], [0x1F900, 0x1F9FF], [0x20000, 0x2A6D6], [0x2F800, 0x2FA1D], [0xE0020, 0xE007F]],
}

EXPLICIT = [
    "", " ", "\n\t", "a", "A", "a cat", "A Cat.", "a photo of an astronaut riding a horse",
    "a photo of an astronaut riding a horse, 8k, trending on artstation!", "hello!", "hello !", "hello! world", "wow!!",
    "!", "! !", "!a!", "a ! b", "a!b", "?!", "!?", "it's", "it’s", "I'RE you're", "don't", "dont't", "''s", "'", "''",
    "can't've", "rock'n'roll", "'lla", "mother-in-law", "e-mail@example.com", "https://a.b/c?d=e&f=g#h", "C++ C# .NET",
    "3.14159", "1,000,000", "2024-01-02", "1st 2nd 3rd", "f1.8", "35mm", "x2", "½ ² ⅷ", "١٢٣", "１２３",
    "café", "cafe\u0301", "ÀÉÎÕÜ", "naïve façade", "Zoë", "ñandú", "Straße STRASSE", "STRAẞE", "İstanbul", "ıi",
    "ΣΊΣΥΦΟΣ", "Привет, мир", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก", "안녕하세요", "각 각",
    "你好，世界", "こんにちは世界", "ﾊﾝｶｸ ﬁ ﬂ", "Ａｂｃ", "𝕳𝖊𝖑𝖑𝖔", "Å Å Å", "q\u0307\u0323 q\u0323\u0307",
    "😀", "😀😀", "a😀b", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇯🇵", "1️⃣", "❤️", "☺", "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "x\ua7cey \u0c5c\u0c5c", "\U00033479\U00033479", "\U00011de0\U00011de1", "\u1c89\u1c8a",  # Unicode 17, 17, 17, 16
    "a\0b", "a\x1cb", "a\x1fb", "a\x85b", "a\xa0b", "a\u200bb", "a\u200db", "\ufeffa", "a\u3000b", "a\u2028b", "a\r\nb",
    "  leading and   inner  ", START, END, f"{START} a {END} b", "<|STARTOFTEXT|>", "<|ENDOFTEXT|>", "<|endoftext|",
    "x<|endoftext|>y", "-<|endoftext|>", "</w>", "a</w>b", "(masterpiece:1.2), [blurry]", "<lora:add_detail:0.8>",
    "a AND b BREAK c", "_underscored_name_", "----", "....", "a" * 100, "ab" * 200, "🐈‍⬛" * 30,
    " ".join(["cat"] * 75), " ".join(["cat"] * 76), " ".join(["word"] * 200), " ".join(["one, two! three;"] * 60),
]

SINGLE = {"lstrip": False, "rstrip": False, "single_word": False}


def token(content, normalized=True, **rest):
    return {"content": content, "normalized": normalized, **SINGLE, **rest}


def added(content, normalized=True):
    return {**token(content, normalized), "__type": "AddedToken"}


NAMES = {"bos_token": START, "eos_token": END, "unk_token": END}
OBJECTS = {key: token(value) for key, value in NAMES.items()}
CONFIG = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
OLD_CONFIG = {**CONFIG, **{key: added(value) for key, value in NAMES.items()}, "pad_token": END}
DECODER = {"49406": token(START, special=True), "49407": token(END, special=True)}
LISTED = [{"id": 49406, **token(START, special=True)}, {"id": 49407, **token(END, False, special=True)}]
BANG = {"id": 0, **token("!", False, special=True)}

# The forms in which folders give special tokens: (files, added tokens of a tokenizer.json; None without one).
FOLDERS = {
    "no configs": ({}, None),
    "SD1": ({"special_tokens_map.json": {**OBJECTS, "pad_token": END}, "tokenizer_config.json": OLD_CONFIG}, None),
    "SD2": ({"special_tokens_map.json": {**OBJECTS, "pad_token": "!"}, "tokenizer_config.json": OLD_CONFIG}, None),
    "config only": ({"tokenizer_config.json": {**CONFIG, **NAMES, "pad_token": "!"}}, None),
    "map of texts": ({"special_tokens_map.json": {**NAMES, "pad_token": "!"}, "tokenizer_config.json": CONFIG}, None),
    "map of objects, not normalized": (
        {"special_tokens_map.json": {key: token(value, False) for key, value in NAMES.items()}}, None),
    "padding as an object": ({"special_tokens_map.json": {**OBJECTS, "pad_token": token("!")}}, None),
    "unknown token differs": ({"special_tokens_map.json": {
        **OBJECTS, "unk_token": token(END, False), "pad_token": "!"}}, None),
    "decoder, map not read": ({"special_tokens_map.json": {**OBJECTS, "pad_token": "!"}, "tokenizer_config.json": {
        **CONFIG, **NAMES, "pad_token": END, "added_tokens_decoder": DECODER}}, None),
    "decoder with !": ({"tokenizer_config.json": {**CONFIG, **NAMES, "pad_token": "!", "added_tokens_decoder": {
        "0": token("!", False, special=True), **DECODER}}}, None),
    "decoder without !": ({"tokenizer_config.json": {
        **CONFIG, **NAMES, "pad_token": "!", "added_tokens_decoder": DECODER}}, None),
    "tokenizer.json": ({"tokenizer_config.json": {**CONFIG, **NAMES, "pad_token": END}}, LISTED),
    "tokenizer.json with !": ({"tokenizer_config.json": {**CONFIG, **NAMES, "pad_token": "!"}}, [BANG, *LISTED]),
    "tokenizer.json alone": ({}, [BANG, *LISTED]),
    "tokenizer.json and a map": ({"special_tokens_map.json": {**NAMES, "pad_token": "!"}}, LISTED),
    "added tokens": ({"special_tokens_map.json": {**OBJECTS, "pad_token": END},
                      "added_tokens.json": {"<cat-toy>": 49408, "Zed": 49409}, "tokenizer_config.json": CONFIG}, None),
    "a padding token of its own": ({"special_tokens_map.json": {**OBJECTS, "pad_token": "[PAD]"}}, None),
    "extra tokens, single words": ({"special_tokens_map.json": OBJECTS, "tokenizer_config.json": {
        **CONFIG, "additional_special_tokens": [{**added("cat"), "single_word": True}, "<s1>"]}}, None),
}
PROBES = [f"a{START}b<|STARTOFTEXT|>", f"a{END}b", "<|ENDOFTEXT|>", "!x!! wow!", "a <cat-toy>, ZED zed Zed",
          "cat cats a-cat concat CAT _cat cat! <s1>cat"]

TINY = {token: index for index, token in enumerate([
    "l", "o", "w", "e", "r", "s", "t", "i", "d", "n", "lo", "l</w>", "w</w>", "r</w>", "t</w>", "low</w>", "er</w>",
    "lowest</w>", "newer</w>", "wider", "<unk>", START, END])}
TINY_MERGES = "#version: 0.2\nl o\nlo w</w>\ne r</w>\n"


class SplitMix:
    """The twin of TestKit's SplitMix."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        value = self.state
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        return value ^ (value >> 31)

    def below(self, bound):
        return self.next() % bound

    def choose(self, values):
        return values[self.below(len(values))]


def atom(random):
    kind = random.below(16)
    if kind < 6:
        word, case = random.choose(ATOMS["words"]), random.below(4)
        return word.upper() if case == 0 else word[0].upper() + word[1:] if case == 1 else word
    if kind == 6:
        letters = [(random.below(26), random.below(5)) for _ in range(1 + random.below(12))]
        return "".join(chr((65 if case == 0 else 97) + letter) for letter, case in letters)
    if kind == 7:
        return "".join(str(random.below(10)) for _ in range(1 + random.below(5)))
    if kind == 8:
        return "".join(random.choose(ATOMS["punctuation"]) for _ in range(1 + random.below(4)))
    if kind == 9:
        return random.choose(ATOMS["contractions"])
    if kind == 10:
        text = ""
        for _ in range(1 + random.below(4)):
            text += chr(97 + random.below(26))
            for _ in range(random.below(3)):
                text += chr(0x300 + random.below(0x70))
        return text
    if kind < 13:
        first, last = random.choose(ATOMS["ranges"])
        return "".join(chr(first + random.below(last - first + 1)) for _ in range(1 + random.below(4)))
    if kind == 13:
        return random.choose(ATOMS["emoji"])
    if kind == 14:
        return random.choose(ATOMS["controls"] if random.below(2) == 0 else ATOMS["specials"])
    return random.choose(ATOMS["cased"])


def generated(index):
    random = SplitMix(index + 1)
    count = 200 if index % 50 == 49 else 1 + random.below(12)
    text = ""
    for position in range(count):
        if position > 0:
            separator = random.below(8)
            text += "" if separator == 0 else random.choose(ATOMS["spaces"]) if separator == 1 else " "
        text += atom(random)
    return text


def vocabulary():
    """vocab.json as a dictionary and the merges as pairs, from the resource of the Tokenizers target."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = [chr(byte) for byte in printable] + [chr(256 + index) for index in range(256 - len(printable))]
    tokens = characters + [character + "</w>" for character in characters]
    packed = (ROOT / "Sources/Models/Tokenizers/Resources/clip-merges.bin").read_bytes()
    merges = []
    for left, right in struct.iter_unpack("<HH", packed):
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return {token: index for index, token in enumerate(tokens + [START, END])}, merges


def load(folder, files, vocab, merges, added_tokens=None):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    if added_tokens is None:
        (folder / "vocab.json").write_text(json.dumps(vocab))
        (folder / "merges.txt").write_text(
            merges if isinstance(merges, str) else "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    else:
        (folder / "tokenizer.json").write_text(json.dumps({
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added_tokens, "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": {
                "type": "BPE", "vocab": vocab, "merges": merges, "end_of_word_suffix": "</w>", "unk_token": END}}))
    return CLIPTokenizer.from_pretrained(str(folder))


def ids(tokenizer, text):
    """The ids as diffusers passes them to the text encoder, and the text that it reports as truncated."""
    padded = tokenizer(text, padding="max_length", max_length=LENGTH, truncation=True).input_ids
    everything = tokenizer(text).input_ids
    cut = tokenizer.decode(everything[LENGTH - 1:-1]) if len(everything) > LENGTH else ""
    return padded, everything, cut


def main():
    vocab, merges = vocabulary()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        loaded = {name: load(folder / str(index), files, vocab, merges, added_tokens)
                  for index, (name, (files, added_tokens)) in enumerate(FOLDERS.items())}
        unknown = {"special_tokens_map.json": {**OBJECTS, "unk_token": "<unk>"}}
        tiny = load(folder / "tiny", unknown, TINY, TINY_MERGES)
    texts = [generated(index) for index in range(TEXTS)]
    fixture = {"atoms": ATOMS, "textDigests": [
        zlib.crc32("\n".join(texts[start:start + BLOCK]).encode()) for start in range(0, TEXTS, BLOCK)]}
    fixture["explicit"] = [{"text": text} for text in EXPLICIT]
    for name in ("SD1", "SD2"):
        tokenizer, digests = loaded[name], []
        for start in range(0, TEXTS, BLOCK):
            digest = 0
            for text in texts[start:start + BLOCK]:
                padded, everything, cut = ids(tokenizer, text)
                content = cut.encode() + b"\0" + tokenizer.decode(everything).encode()
                digest = zlib.crc32(struct.pack(f"<{LENGTH}i", *padded) + content, digest)
            digests.append(digest)
        fixture[f"{name.lower()}Digests"] = digests
        for case in fixture["explicit"]:
            padded, everything, cut = ids(tokenizer, case["text"])
            assert padded[len(everything):] == [tokenizer.pad_token_id] * (LENGTH - len(everything))
            case[name.lower()] = {
                "ids": padded[:len(everything)], "truncated": cut, "decoded": tokenizer.decode(everything)}
    fixture["probes"] = PROBES
    fixture["folders"] = [
        {"name": name, "files": {file: json.dumps(content) for file, content in files.items()},
         "addedTokens": None if added_tokens is None else json.dumps(added_tokens),
         "padding": loaded[name].pad_token_id, "ids": [loaded[name](probe).input_ids for probe in PROBES]}
        for name, (files, added_tokens) in FOLDERS.items()]
    fixture["tiny"] = {"vocab": json.dumps(TINY), "merges": TINY_MERGES, "texts": [
        {"text": text, "ids": tiny(text).input_ids} for text in ("lower newer", "low", "lowest xyz wider", "l é", "")]}
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
    print(OUTPUT.name, OUTPUT.stat().st_size)


main()
