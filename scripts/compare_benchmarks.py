#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times two builds of bitsfusion-bench in turn and compares the medians of each case.

    scripts/compare_benchmarks.py --before OLD/.build/release/bitsfusion-bench \\
        --after .build/release/bitsfusion-bench [--groups forward,train,packed] [--rounds 3] [--filter REGEX]

For every case, both programs run alternately, A B A B ..., without PyTorch; all samples of a side are joined. The last
column is the median after over the median before: above 1 is slower. Exits with 1 if a ratio exceeds --limit. Each
program runs in the root of its own package, where its configs are.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile


def environment():
    return {name: value for name, value in os.environ.items() if name not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}


def run(program, *arguments):
    """Runs the program in the first folder above it that has a Package.swift; returns its output."""
    path = pathlib.Path(program).resolve()
    root = next((folder for folder in path.parents if (folder / "Package.swift").exists()), None)
    return subprocess.run(
        [path, *arguments], check=True, capture_output=True, text=True, cwd=root, env=environment()).stdout


def cases(program, groups, pattern):
    names = []
    for group in groups:
        listed = run(program, group, "--list")
        names += [(group, name) for name in listed.splitlines() if re.search(pattern, name)]
    return names


def samples(program, group, name, quick):
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "run.json"
        arguments = ["--ours-only", "--filter", f"^{re.escape(name)}$", "--json", output]
        run(program, group, *arguments, *(["--quick"] if quick else []))
        rows = json.loads(output.read_text())["rows"]
        return [value for row in rows for value in row["ours"]["samples"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True)
    parser.add_argument("--after", required=True)
    parser.add_argument("--groups", default="forward,train,packed")
    parser.add_argument("--filter", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="fewer measurements per run")
    parser.add_argument("--limit", type=float, default=1.03)
    options = parser.parse_args()
    groups = options.groups.split(",")
    common = set(cases(options.before, groups, options.filter)) & set(cases(options.after, groups, options.filter))
    worst = 0.0
    print("| case | before ms | after ms | after / before |\n|---|---:|---:|---:|", flush=True)
    for group, name in [case for case in cases(options.after, groups, options.filter) if case in common]:
        before, after = [], []
        try:
            for _ in range(options.rounds):
                before += samples(options.before, group, name, options.quick)
                after += samples(options.after, group, name, options.quick)
        except subprocess.CalledProcessError as error:
            print(f"| {name} | not measured: {error.cmd[0]} ended with {error.returncode} | | |", flush=True)
            continue
        old, new = statistics.median(before), statistics.median(after)
        worst = max(worst, new / old)
        print(f"| {name} | {old * 1e3:.4g} | {new * 1e3:.4g} | {new / old:.3f} |", flush=True)
    print(f"largest ratio: {worst:.3f}, limit {options.limit}")
    sys.exit(1 if worst > options.limit else 0)


main()
