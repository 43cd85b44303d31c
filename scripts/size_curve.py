#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Quality over size on the shapes model: budgets from 1.2 to 4 bits, by levels and by entropy, without training and
after stage I, and k-means palettes. Writes Docs/SizeCurve.md and its plot.

    scripts/size_curve.py --program .build/release/bitsfusion

All files are written to --output (default: size-curve). An interrupted run continues where it was, see ladder.py.
"""

import argparse
import json
import pathlib
import sys
from dataclasses import dataclass

from experiment import CACHING, ROOT, STEPS, TEACHER, Experiment, Scores, figure, paired, save, signed

LEVELS = [1.85, 1.99, 2.5, 3, 4]
ENTROPY = [1.2, 1.6, 1.99, 2.5, 3, 4]
PALETTES = [1, 2, 3, 4]


@dataclass
class Point:
    """One model of the curve."""

    series: str
    budget: float
    file: str
    bits: float  # per weight, as stored


class SizeCurve(Experiment):
    def __init__(self, options):
        super().__init__(options.program, options.output)
        self.teacher_file = options.teacher
        self.prompts, self.training_steps = options.prompts_per_family, options.steps
        self.points = []

    def make(self):
        table = self.file("sensitivity.json")
        self.run("analyze", TEACHER, "--measure", "noise", "-o", table, makes=table.name, resumes=True)
        for method, budgets in (("optimal", LEVELS), ("entropy", ENTROPY)):
            for budget in budgets:
                self.make_models(table, method, budget)
        for bits in PALETTES:
            recipe, palettes = self.file("optimal-1.99.json"), self.file(f"palettes-{bits}.h5")
            self.run(
                self.teacher_file, recipe, "--bits", bits, "-o", palettes, makes=palettes.name,
                program=[sys.executable, str(ROOT / "scripts/palettes.py")])
            weights = json.loads(self.capture("info", TEACHER, "--json"))["layers"]
            quantized = set(json.loads(recipe.read_text())["layers"])
            sizes = [layer["weights"] for layer in weights if layer["path"] in quantized]
            stored = bits + 16 * 2**bits * len(sizes) / sum(sizes)
            self.points.append(Point("palettes of k-means", bits, palettes, stored))

    def make_models(self, table, method, budget):
        name = f"{method}-{budget:g}"
        recipe, quantized = self.file(name + ".json"), self.file(f"quantized-{name}.h5")
        student, packed = self.file(f"student-{name}.h5"), self.file(f"packed-{name}.h5")
        self.run(
            "allocate", table, "--cached-steps", STEPS, "--avg-bits", budget, "--method", method, "-o", recipe,
            makes=recipe.name)
        self.run("quantize", TEACHER, "--recipe", recipe, *CACHING, "-o", quantized, makes=quantized.name)
        steps = ["--steps", self.training_steps] if self.training_steps else []
        self.run(
            "distill", "--stage", "1", "--model", TEACHER, "--recipe", recipe, *steps, "-o", student,
            makes=student.name, resumes=True)
        self.run("pack", student, *CACHING, "-o", packed, makes=packed.name)
        title = {"optimal": "by levels", "entropy": "by entropy"}[method]
        for series, file in ((f"{title}, without training", quantized), (f"{title}, after stage I", packed)):
            self.points.append(Point(series, budget, file, self.coded_bits(file)))

    def results(self):
        self.evaluate("scores", [TEACHER] + [point.file for point in self.points], self.prompts)
        found = []
        for title, (rows, table) in zip(["full precision"] + self.points, self.scores("scores"), strict=True):
            scores = Scores(str(title))
            scores.add(0, 3.0, rows, table)
            found.append(scores)
        return found[0], list(zip(self.points, found[1:]))


def report(curve, teacher, results):
    lines = [
        "# Quality over size", "",
        "The shipped model at several budgets, written by `make size-curve` (`scripts/size_curve.py`): allocation by "
        "levels (`optimal`) and by entropy (`entropy`), without training and after stage I (one training seed), packed "
        "with int8 activations, and palettes of k-means as in Apple's ml-stable-diffusion (without training, float "
        f"activations). {6 * curve.prompts:,} prompts, DDIM with {STEPS} steps, guidance scale 3. Bits are those of "
        "the stored codes and time features, per weight; of palettes, those of indices and palettes. Differences are "
        "to full precision, in pairs, with 95 % intervals.", "",
        "![PSNR over bits](size-curve.svg)", "",
        "| model | budget | bits as stored | file bytes | PSNR to full precision | compositional score | difference |",
        "|---|---:|---:|---:|---:|---:|---:|",
        f"| full precision | | | {teacher.mean('size', 'packedBytes'):,.0f} | "
        f"| {teacher.column(1).mean():.3f} | |",
    ]
    for point, scores in results:
        is_packed = not point.series.startswith("palettes")
        size = f"{scores.mean('size', 'packedBytes'):,.0f}" if is_packed else ""
        lines.append(
            f"| {point.series} | {point.budget:g} | {point.bits:.2f} | {size} | {scores.psnr():.1f} dB "
            f"| {scores.column(1).mean():.3f} | {signed(*paired(scores, teacher, 1))} |")
    return "\n".join(lines + ["", "Commands, in order:", "", "```"] + curve.commands + ["```", ""])


def plot(results, path):
    drawing, axes = figure(8, 5)
    for series in dict.fromkeys(point.series for point, _ in results):
        points = sorted((point.bits, scores.psnr()) for point, scores in results if point.series == series)
        style = "--" if "without" in series or "palettes" in series else "-"
        axes.plot(*zip(*points), marker="o", markersize=4, linestyle=style, label=series)
    axes.set_xlabel("bits per weight, as stored")
    axes.set_ylabel("PSNR to the images of full precision, dB")
    axes.legend()
    save(drawing, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / ".build/release/bitsfusion")
    parser.add_argument("--teacher", default="Sources/App/ShapesWorld/Resources/teacher.h5", help="file of the model")
    parser.add_argument("--output", default="size-curve")
    parser.add_argument("--prompts-per-family", type=int, default=50)
    parser.add_argument("--steps", type=int, help="training steps, for a trial (default: the settings')")
    parser.add_argument("--report", default=ROOT / "Docs/SizeCurve.md", type=pathlib.Path)
    options = parser.parse_args()
    curve = SizeCurve(options)
    curve.make()
    teacher, results = curve.results()
    plot(results, options.report.parent / "size-curve.svg")
    options.report.write_text(report(curve, teacher, results))
    print(f"\n{options.report}")


if __name__ == "__main__":
    main()
