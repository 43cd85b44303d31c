#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Count the Swift files of Sources/ that run when weights go from an imported model to sampled images.

    scripts/hops.py                  build with coverage in .build/hops, run, count
    scripts/hops.py --package DIR    the same for another checkout, for a comparison
    scripts/hops.py --list           also print the files

Runs `import` on the exported UNet of the included model, and `analyze`, `distill` (both stages), `pack` and `sample` on
the model, with as little work as possible, and counts files with at least one executed function by `llvm-cov` of the
Swift toolchain. Files of the command line are counted apart, because parsing any command line executes a part of every
command.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def commands(folder, recipe):
    few = ["--steps", "2", "--sampler", "ddim"]
    return [
        ("import", ["import", f"{folder}/exported", "-o", "model.h5"]),
        ("analyze", ["analyze", "shapes", "--layers", "^conv_in$", "--bits", "2", "--num-prompts", "1", *few,
                     "--measure", "images,noise", "-o", "sensitivity.json"]),
        ("distill", ["distill", "--stage", "1", "--model", "shapes", "--recipe", recipe, "--steps", "1",
                     "-o", "stage1.h5"]),
        ("distill", ["distill", "--stage", "2", "--student", "stage1.h5", "--steps", "1", "-o", "stage2.h5"]),
        ("pack", ["pack", "stage2.h5", "--cached-steps", "2", "--sampler", "ddim", "-o", "packed.h5"]),
        ("sample", ["sample", "packed.h5", "--prompt", "a red circle", *few, "-o", "image.png"]),
    ]


def run(command, **options):
    done = subprocess.run(command, text=True, capture_output=True, **options)
    if done.returncode:
        sys.exit(f"hops: {' '.join(map(str, command[:6]))} ...: exit status {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def tool(name):
    """The LLVM tool `name` of the Swift toolchain; others read other versions of profiles."""
    beside = pathlib.Path(shutil.which("swift") or "swift").resolve().with_name(name)
    return str(beside) if beside.exists() else name


def executed(program, profile, package):
    """The files of Sources/ with at least one executed function, relative to Sources/."""
    merged = profile.with_suffix(".profdata")
    run([tool("llvm-profdata"), "merge", "-sparse", str(profile), "-o", str(merged)])
    export = json.loads(run([
        tool("llvm-cov"), "export", "-summary-only", str(program), f"-instr-profile={merged}"]))
    sources = package / "Sources"
    return {
        str(pathlib.Path(file["filename"]).relative_to(sources))
        for file in export["data"][0]["files"]
        if file["filename"].startswith(f"{sources}/") and file["filename"].endswith(".swift")
        and file["summary"]["functions"]["covered"]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--package", type=pathlib.Path, default=ROOT)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    package = arguments.package.resolve()
    scratch = package / ".build" / "hops"
    flags = ["-Xswiftc", "-profile-generate", "-Xswiftc", "-profile-coverage-mapping"]
    build = ["swift", "build", "--package-path", str(package), "--scratch-path", str(scratch), "--product",
             "bitsfusion", *flags]
    subprocess.run(build, check=True, stdout=sys.stderr)
    program = pathlib.Path(run([*build, "--show-bin-path"]).strip()) / "bitsfusion"

    by_command = collections.defaultdict(set)
    with tempfile.TemporaryDirectory() as folder:
        def bitsfusion(*command, profile="unused.profraw"):
            environment = dict(os.environ, LLVM_PROFILE_FILE=f"{folder}/{profile}")
            return run([str(program), *command], cwd=folder, env=environment)

        bitsfusion("export", "shapes", "-o", "exported")
        info = json.loads(bitsfusion("info", "shapes", "--json"))
        bits = {layer["path"]: 8 if layer["path"] in ("conv_in", "conv_out") else 2 for layer in info["layers"]
                if "time_emb" not in layer["path"] and not layer["path"].startswith("text_encoder.")}
        recipe = pathlib.Path(folder) / "recipe.txt"
        recipe.write_text("".join(f"{path}: {width}\n" for path, width in bits.items()))
        for index, (name, command) in enumerate(commands(folder, "recipe.txt")):
            bitsfusion(*command, profile=f"{index}.profraw")
            by_command[name] |= executed(program, pathlib.Path(folder) / f"{index}.profraw", package)

    files = sorted(path for path in (package / "Sources").rglob("*.swift"))
    print("command    library files   command line files   targets")
    total = set().union(*by_command.values())
    for name, found in [*by_command.items(), ("together", total)]:
        line = {path for path in found if "BitsFusionCLI/" in path}
        targets = {pathlib.Path(path).parts[1] if len(pathlib.Path(path).parts) > 2 else pathlib.Path(path).parts[0]
                   for path in found}
        print(f"{name:10} {len(found - line):13} {len(line):20} {len(targets):9}")
    print(f"of {len(files)} Swift files in Sources/")
    if arguments.list:
        print("\n".join(sorted(total)))


if __name__ == "__main__":
    main()
