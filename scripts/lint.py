#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check what `swift format lint` does not: line lengths, license lines, trailing blanks, and words of the glossary.

The rules are listed in CONTRIBUTING.md. Prints one line per finding, `FILE:LINE: what is wrong`, and exits with
status 1 if there is one. Without arguments, checks every file that git tracks.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_COLUMNS = 120
SOURCES = {".swift", ".c", ".h", ".inc", ".py", ".sh"}
LICENSE = "SPDX-License-Identifier: Apache-2.0"

# Words that a plain text does without, with what to write instead. Each is a regular expression over the prose of a
# line: comments, string literals, and all of Markdown except code.
WORDS = [
    (r"pictures?", "image, sample"),
    (r"(?:no|some)body(?:'s)?", "name the program, the option or the value"),
    (r"anew", "again, from scratch"),
    (r"(?:the|this|its|less|more|most|no|least|predicted|other) damage", "quantization error, corruption"),
    (r"(?<!-)bench", "evaluator, benchmark"),
    (r"lies (?:in|at|under|beside|behind)", "is stored in, is located at"),
    (r"shall", "must, will"),
    (r"as it comes|rounded as they come", "dynamically quantized"),
    (r"worked out", "computed"),
]
FORBIDDEN = [(re.compile(r"\b(" + word + r")\b", re.IGNORECASE), instead) for word, instead in WORDS]

# The files that quote the words: this one and the glossary.
QUOTING = {"scripts/lint.py", "CONTRIBUTING.md"}
# Paths in which "bench" is the name of a program or a folder.
BENCHMARKS = re.compile(r"^(?:Benchmarks/|Tests/BitsFusionBenchTests/|Makefile$|Package\.swift$)")


def tracked_files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name]


def check(name):
    """The findings in one file, as pairs of a line number and a text."""
    path = ROOT / name
    suffix = path.suffix
    is_makefile = path.name in ("Makefile", "run")
    if suffix not in SOURCES and suffix != ".md" and not is_makefile:
        return
    if path.is_symlink() or not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines[-1] != "":
        yield len(lines), "no line break at the end of the file"
    elif len(lines) > 1 and lines[-2] == "":
        yield len(lines) - 1, "blank line at the end of the file"
    if suffix in SOURCES and name != "Package.swift" and not any(LICENSE in line for line in lines[:2]):
        yield 1, f"expected '{LICENSE}' in the first two lines"
    fenced = False
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield number, "blanks at the end of the line"
        if suffix == ".md" and line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        if suffix == ".md" and not fenced and line.startswith("|") and not line.endswith("|"):
            yield number, "a row of a table on several lines"
        if len(line) > MAX_COLUMNS and not (suffix == ".md" and may_be_long(line, fenced)):
            yield number, f"{len(line)} columns, expected at most {MAX_COLUMNS}"
        if name not in QUOTING:
            text = prose(line, suffix, fenced)
            for word, instead in FORBIDDEN:
                found = word.search(text)
                if found and not (found[1].lower() == "bench" and BENCHMARKS.match(name)):
                    yield number, f"'{found[1]}': write {instead}"


def may_be_long(line, fenced):
    """In Markdown, lines that cannot be wrapped: rows of tables, fenced text, and lines that a link makes long."""
    return fenced or line.lstrip().startswith("|") or re.search(r"\S{80,}|\]\([^)]*\)|https?://", line)


def prose(line, suffix, fenced):
    """The part of a line that a reader reads as text."""
    if suffix == ".md":
        return "" if fenced else re.sub(r"`[^`]*`", "", line)
    if suffix in (".swift", ".c", ".h", ".inc"):
        code, _, comment = line.partition("//")
        comment = re.sub(r"`[^`]*`", "", comment)
        strings = " ".join(re.findall(r'"((?:[^"\\]|\\.)*)"', code))
        if suffix != ".swift":
            # Bodies of block comments, whose lines start with a star or with text.
            strings += " " + (code if re.match(r"\s*(?:/?\*|[A-Z][a-z]+ )", code) else "")
        return strings + " " + comment
    return line


def main(arguments):
    failed = False
    for name in arguments or tracked_files():
        for number, text in check(name):
            failed = True
            print(f"{name}:{number}: {text}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
