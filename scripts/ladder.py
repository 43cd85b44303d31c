#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains and scores the models of the paper's ablation (BitsFusion, table 4) on the shapes model, and writes
Docs/Results.md with its plots.

    scripts/ladder.py --program .build/release/bitsfusion            # 3 seeds, 1,020 prompts, 3 guidance scales: hours
    scripts/ladder.py --program .build/release/bitsfusion --quick    # 1 seed, 300 prompts, 1 guidance scale

All files are written to --output (default: ladder). An interrupted ladder continues where it was: a command is run
again only if its options, the contents of its input files or the version of the program have changed, and training
resumes from its last save. Every command is printed before it runs.

Models that only show the effect of one step are scored on 1,020 prompts, 340 for each guidance scale; those of the
claim (MAIN) on 1,020 prompts for each scale.
"""

import argparse
import pathlib
from dataclasses import dataclass

import numpy
import yaml

from experiment import (
    CACHING, FAMILIES, ROOT, STEPS, TEACHER, Experiment, Scores, by_seed, figure, paired, save, signed)

UNIFORM = {"alpha": 1, "beta": 1}


@dataclass(frozen=True)
class Rung:
    """One model of the ladder."""

    name: str
    title: str
    recipe: str = "optimal"
    initialization: str = "alternating"
    grid: str = "balanced"
    features: bool = True
    timesteps: dict | None = None  # None: Beta(3, 1)
    # "quantize": no training; "stage1", "stage2": the last stage; "packed"; "teacher": the full-precision model after
    # stage II.
    kind: str = "stage1"
    start: str | None = None  # the rung whose student stage II starts from, or that is packed


RUNGS = [
    Rung("post-training", "1.99 bits without training, packed, int8 activations", kind="quantize"),
    Rung("post-training-entropy", "the same size by entropy with dead zones, without training, packed",
         "entropy", kind="quantize"),
    Rung("lsq", "2 bits, LSQ's grid, min-max", "2bit", "min-max", "lsq", features=False, timesteps=UNIFORM),
    Rung("balanced", "+ balanced grid", "2bit", "min-max", features=False, timesteps=UNIFORM),
    Rung("alternating", "+ alternating initialization", "2bit", features=False, timesteps=UNIFORM),
    Rung("threshold", "+ mixed precision and time caching, 1.99 bits, the paper's threshold", "threshold",
         features=False, timesteps=UNIFORM),
    Rung("optimal", "+ exact allocation in place of the threshold", features=False, timesteps=UNIFORM),
    Rung("features", "+ feature distillation, relative to the features' size", timesteps=UNIFORM),
    Rung("beta", "+ timesteps from Beta(3, 1): stage I"),
    Rung("stage2", "+ stage II: all steps of the paper", kind="stage2", start="beta"),
    Rung("entropy", "+ entropy as the cost, dead zones, the same size: stage I", "entropy"),
    Rung("entropy-stage2", "+ stage II", kind="stage2", start="entropy"),
    Rung("packed", "packed, int8 activations", kind="packed", start="entropy-stage2"),
    Rung("teacher-tuned", "full precision, trained with the loss of stage II for as many steps as both stages",
         kind="teacher"),
]
# The models of the claim, on more prompts than the others.
MAIN = ["stage2", "entropy-stage2", "packed", "teacher-tuned"]


class Ladder(Experiment):
    def __init__(self, options):
        super().__init__(options.program, options.output)
        self.seeds = [0] if options.quick else list(range(options.seeds))
        self.scales = [3.0] if options.quick else [2.0, 3.0, 5.0]
        self.prompts = options.prompts_per_family or (50 if options.quick else 170)
        self.steps = options.steps

    # Recipes

    def recipes(self):
        table = self.file("sensitivity.json")
        self.run("analyze", TEACHER, "--measure", "noise", "-o", table, makes=table.name, resumes=True)
        def allocate(name, *options):
            recipe = self.file(name + ".json")
            self.run("allocate", table, *options, "-o", recipe, makes=recipe.name)
        allocate("2bit", "--avg-bits", "9", "--pin", ".*=2")
        allocate("threshold", "--avg-bits", "1.99", "--method", "threshold", "--no-clip-bonus")
        allocate("optimal", "--avg-bits", "1.99")
        # The size of the codes at 1.99 bits, with as many cached steps as `allocate` counts.
        sized = self.file("sized.h5")
        self.run("quantize", TEACHER, "--recipe", self.file("optimal.json"), "-o", sized, makes=sized.name)
        allocate("entropy", "--avg-bits", f"{self.coded_bits(sized):.3f}", "--method", "entropy")

    # Training

    def config(self, rung):
        """The settings of a rung, in a file of its own."""
        settings = yaml.safe_load(self.capture("distill", "--stage", "1", "--model", TEACHER, "--print-config"))
        for stage in settings.values():
            if rung.timesteps:
                stage["timesteps"] = rung.timesteps
            if self.steps:
                stage["training"]["steps"] = self.steps
        if not rung.features:
            settings["stage1"]["featureWeight"] = 0
        if rung.kind == "teacher":
            settings["stage2"]["training"]["steps"] += settings["stage1"]["training"]["steps"]
        path = self.file(f"{rung.name}.yaml")
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
        return path

    def model(self, rung, seed):
        return f"{rung.name}.h5" if rung.kind == "quantize" else f"{rung.name}-{seed}.h5"

    def train(self, rung, seed):
        makes = self.model(rung, seed)
        recipe = self.file(rung.recipe + ".json")
        if rung.kind == "quantize":
            self.run("quantize", TEACHER, "--recipe", recipe, *CACHING, "-o", self.file(makes), makes=makes)
            return
        if rung.kind == "packed":
            self.run("pack", self.file(f"{rung.start}-{seed}.h5"), *CACHING, "-o", self.file(makes), makes=makes)
            return
        start = {
            "stage1": ["--stage", "1", "--model", TEACHER, "--recipe", recipe, "--init", rung.initialization,
                       "--grid", rung.grid],
            "stage2": ["--stage", "2", "--student", self.file(f"{rung.start}-{seed}.h5")],
            "teacher": ["--stage", "2", "--model", TEACHER],
        }[rung.kind]
        self.run(
            "distill", *start, "--config", self.config(rung), "--seed", seed, "-o", self.file(makes), makes=makes,
            resumes=True)

    # Scores

    def groups(self, seed):
        """The rungs that are scored together, by the number of prompts of each family and guidance scale."""
        share = -(-self.prompts // len(self.scales))
        trained = [rung for rung in RUNGS if rung.kind != "quantize" or seed == self.seeds[0]]
        return {
            "main": (self.prompts, [rung for rung in trained if rung.name in MAIN]),
            "steps": (share, [rung for rung in trained if rung.name not in MAIN]),
        }

    def each_evaluation(self, seed):
        for group, (prompts, rungs) in self.groups(seed).items():
            for index, scale in enumerate(self.scales):
                yield f"scores-{group}-{seed}-{scale:g}", prompts, rungs, scale, 1024 + index

    def score(self, seed):
        for name, prompts, rungs, scale, prompt_seed in self.each_evaluation(seed):
            models = [TEACHER] + [self.file(self.model(rung, seed)) for rung in rungs]
            self.evaluate(name, models, prompts, scale, prompt_seed)

    def results(self):
        result = {"teacher": Scores("full precision")} | {rung.name: Scores(rung.title) for rung in RUNGS}
        for seed in self.seeds:
            for name, _, rungs, scale, _ in self.each_evaluation(seed):
                found = self.scores(name)
                for key, (rows, table) in zip(["teacher"] + [rung.name for rung in rungs], found, strict=True):
                    result[key].add(seed, scale, rows, table)
        # Models without training have the same images for every training seed.
        for rung in RUNGS:
            if rung.kind == "quantize":
                images = result[rung.name].images
                for (_, scale, prompt), image in list(images.items()):
                    images.update({(seed, scale, prompt): image for seed in self.seeds})
        return result


def report(ladder, scores):
    teacher = scores["teacher"]
    claim = 6 * ladder.prompts * len(ladder.scales)
    others = 6 * ladder.groups(0)["steps"][0] * len(ladder.scales)
    lines = [
        "# Results", "",
        "The paper's ablation (BitsFusion, table 4) on the shipped model, written by `make ladder` "
        "(`scripts/ladder.py`).", "",
        f"{len(ladder.seeds)} training seed(s), guidance scales {', '.join(f'{scale:g}' for scale in ladder.scales)}, "
        f"DDIM with {STEPS} steps. The models of the claim (stage II, with and without entropy, packed, and full "
        f"precision trained further) are scored on {claim:,} prompts, the others on {others:,}. "
        "Differences to full precision are of the same prompts and initial noise, with 95 % intervals: mean ± 1.96 "
        "standard errors over prompts, for these training seeds, whose differences are listed one by one. Bits are the "
        "paper's average; entropy is the same average with the entropy of the codes in place of log2(levels). Both "
        f"count 50 cached time features, and {STEPS} for packed models.", "",
        "| model | bits | entropy | compositional score | difference | by training seed | CLIP-proxy | difference "
        "| Fréchet | PSNR to full precision | noise error |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, model in scores.items():
        is_quantized = model.tables[0]["size"].get("entropyBits") is not None
        cells = [
            model.title, f"{model.mean('size', 'averageBits'):.2f}",
            f"{model.mean('size', 'entropyBits'):.2f}" if is_quantized else "", f"{model.column(1).mean():.3f}",
            "" if name == "teacher" else signed(*paired(model, teacher, 1)),
            "" if name == "teacher" else by_seed(model, teacher, 1), f"{model.column(2).mean():.3f}",
            "" if name == "teacher" else signed(*paired(model, teacher, 2)),
            f"{model.mean('score', 'frechetDistance'):.2f}",
            "" if name == "teacher" else f"{model.psnr():.1f} dB",
            "" if name == "teacher" else f"{model.mean('score', 'noiseError'):.6f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "![Differences of the compositional score](results-scores.svg)", "",
              "Compositional score by family:", "",
              "| model | " + " | ".join(FAMILIES) + " |", "|---|" + "---:|" * len(FAMILIES)]
    for model in scores.values():
        lines.append(f"| {model.title} | " + " | ".join(f"{model.family(name):.3f}" for name in FAMILIES) + " |")
    lines += ["", "Comparisons:", "",
              "| comparison | compositional score | CLIP-proxy | PSNR to full precision, dB |", "|---|---:|---:|---:|"]
    for first, second in [
        ("packed", "teacher"), ("packed", "teacher-tuned"), ("packed", "entropy-stage2"), ("entropy-stage2", "stage2"),
        ("entropy", "beta"), ("stage2", "beta"), ("beta", "features"), ("features", "optimal"),
        ("optimal", "threshold"), ("alternating", "balanced"), ("balanced", "lsq"),
        ("post-training-entropy", "post-training"),
    ]:
        values = [signed(*paired(scores[first], scores[second], column)) for column in (1, 2)]
        psnr = "" if second.startswith("teacher") else f"{scores[first].psnr() - scores[second].psnr():+.1f}"
        lines.append(f"| {scores[first].title} − {scores[second].title} | {values[0]} | {values[1]} | {psnr} |")
    lines += ["", "Noise error by timestep:", "", "![Noise error by timestep](results-noise.svg)", ""]
    points, curves = noise_curves(scores)
    lines += ["| model | " + " | ".join(f"t = {point}" for point in points) + " |", "|---|" + "---:|" * len(points)]
    for title, curve in curves.items():
        lines.append(f"| {title} | " + " | ".join(f"{value:.6f}" for value in curve) + " |")
    lines += ["", "Commands, in order:", "", "```"] + ladder.commands + ["```", ""]
    return "\n".join(lines)


def noise_curves(scores):
    """Timesteps, and the mean noise error at each of them for the models of interest."""
    points = [point["timestep"] for point in scores["teacher"].tables[0]["score"]["noiseErrorCurve"]]
    curves = {}
    for name in ("post-training", "features", "beta", "stage2", "entropy", "entropy-stage2"):
        values = [[p["error"] for p in table["score"]["noiseErrorCurve"]] for table in scores[name].tables]
        curves[scores[name].title] = numpy.mean(values, axis=0)
    return points, curves


def plots(scores, folder):
    teacher = scores["teacher"]
    names = [name for name in scores if name != "teacher"]
    plot, axes = figure(8, 0.3 * len(names) + 1)
    for row, name in enumerate(names):
        mean, width = paired(scores[name], teacher, 1)
        axes.errorbar([mean], [-row], xerr=[width], fmt="o", color="#1f6fb2", markersize=4)
    axes.axvline(0, color="#888888", linewidth=1)
    axes.set_yticks([-row for row in range(len(names))], [scores[name].title for name in names])
    axes.set_xlabel("compositional score minus that of full precision, 95 % interval")
    save(plot, folder / "results-scores.svg")
    plot, axes = figure(8, 4.5)
    points, curves = noise_curves(scores)
    for title, curve in curves.items():
        axes.plot(points, curve, marker="o", markersize=3, label=title)
    axes.set_yscale("log")
    axes.set_xlabel("timestep")
    axes.set_ylabel("squared error of the predicted noise")
    axes.legend(fontsize=7)
    save(plot, folder / "results-noise.svg")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / ".build/release/bitsfusion")
    parser.add_argument("--output", default="ladder")
    parser.add_argument("--seeds", type=int, default=3, help="number of training seeds; --quick: 1")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--prompts-per-family", type=int, help="default: 170; --quick: 50")
    parser.add_argument("--steps", type=int, help="training steps of each stage, for a trial (default: the settings')")
    parser.add_argument("--report", default=None, help="file to write (default: Docs/Results.md; --quick: in --output)")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error("--seeds: expected 1 or more")
    ladder = Ladder(options)
    ladder.recipes()
    for seed in ladder.seeds:
        for rung in RUNGS:
            ladder.train(rung, seed)
        ladder.score(seed)
    path = pathlib.Path(
        options.report or (ladder.file("results.md") if options.quick else ROOT / "Docs/Results.md"))
    scores = ladder.results()
    plots(scores, path.parent)
    path.write_text(report(ladder, scores))
    print(f"\n{path}")


if __name__ == "__main__":
    main()
