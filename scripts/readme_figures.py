#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fills the tables of README.md from measured results.

    make demo                                      # writes demo/scores.json
    bitsfusion info packed.h5 --json > info.json   # of a packed Stable Diffusion 1.5, without the VAE's encoder
    scripts/readme_figures.py demo/scores.json info.json

The table "quality" comes from the scores that `bitsfusion evaluate -o` writes, the table "speed" and the memory of
training from Docs/Performance.md, which `bitsfusion-bench --markdown` writes, and the sizes of Stable Diffusion from
`info`. Each part stands between `<!-- NAME -->` and `<!-- end of NAME -->`.
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = ["full precision", "post-training quantization", "stage I", "stage II", "packed, int8 activations"]
TRAINING = "train stage I sd15 unet 32x32, moments in bfloat16, checkpointing blocks"
SPEED = [
    ("forward sd15 unet 64x64", "SD 1.5 UNet, 64x64 latents, Float32"),
    ("packed forward sd15 unet 64x64", "SD 1.5 UNet, 64x64 latents, packed, int8"),
    ("train shapes unet, batch 32", "training step, shipped model, batch 32"),
]


def quality(scores):
    """One line per model: score with standard error, CLIP-proxy score, noise error, bits and bytes."""
    rows = json.loads(pathlib.Path(scores).read_text())["rows"]
    if len(rows) != len(MODELS):
        sys.exit(f"{scores}: expected the {len(MODELS)} models of `make demo`, found {len(rows)}")
    lines = [
        "| shipped model | compositional score | CLIP-proxy | noise error | bits per weight | bytes |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in zip(MODELS, rows):
        score, size = row["score"], row["size"]
        lines.append(
            f"| {name} | {score['compositional']:.3f} ± {score['compositionalStandardError']:.3f} "
            f"| {score['clipScore']['mean']:.3f} | {score['noiseError']:.5f} "
            f"| {size.get('entropyBits') or size['averageBits']:.2f} | {size['packedBytes']:,} |")
    return lines


def benchmark(document, case):
    """The cells of a case in Docs/Performance.md."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in document.splitlines() if line.startswith("| ")]
    row = next((cells for cells in rows if cells[0] == case), None)
    if row is None:
        sys.exit(f"Docs/Performance.md: no row \"{case}\"; run `make benchmark` with --markdown first")
    return row


def sizes(info):
    """The sizes of a packed Stable Diffusion 1.5."""
    size = json.loads(pathlib.Path(info).read_text())["quantized"]
    stored, unet, half = (size[key] / 1e6 for key in ("storedBytes", "unetBytes", "float16Bytes"))
    return [
        f"With the published bits, SD 1.5 with random weights takes {stored:.0f} MB, its UNet {unet:.0f} MB (float16: "
        f"{half:,.0f} MB)."]


def training_memory(document):
    """The peak of a training step of Stable Diffusion 1.5."""
    ours = benchmark(document, TRAINING)[11].split("/")[0]
    return [
        f"Stage I on SD 1.5 (32x32 latents, batch 1, bfloat16 moments and teacher, checkpointing) takes "
        f"{float(ours) / 1e3:.0f} GB."]


def speed(document):
    """Our time and its ratio to PyTorch's in Float32 and bfloat16."""
    lines = ["| two threads | time | time / PyTorch fp32 | time / PyTorch bf16 |", "|---|---:|---:|---:|"]
    for case, title in SPEED:
        row = benchmark(document, case)
        ratios = [cell.split()[0] for cell in row[7:9]]
        lines.append(f"| {title} | {row[1]} ms | {ratios[0]} | {ratios[1]} |")
    return lines


def fill(text, name, lines):
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.S)
    if not pattern.search(text):
        sys.exit(f"README.md: no part \"{name}\"")
    return pattern.sub(lambda match: match[1] + "\n".join(lines) + "\n" + match[2], text)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    readme = ROOT / "README.md"
    measured = (ROOT / "Docs" / "Performance.md").read_text()
    text = fill(readme.read_text(), "quality", quality(sys.argv[1]))
    text = fill(text, "speed", speed(measured))
    text = fill(text, "sizes", sizes(sys.argv[2]))
    readme.write_text(fill(text, "training memory", training_memory(measured)))


main()
