#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains and scores the models of the paper's ablation (BitsFusion, table 4) on the shapes model, and writes
Docs/Results.md.

    scripts/ladder.py --program .build/release/bitsfusion            # 3 seeds, 1,020 prompts, 3 guidance scales: hours
    scripts/ladder.py --program .build/release/bitsfusion --quick    # 1 seed, 300 prompts, 1 guidance scale

All files are written to --output (default: ladder). An interrupted ladder continues where it was: a command is run
again only if its options, the contents of its input files or the version of the program have changed, and training
resumes from its last save. Every command is printed before it runs.
"""

import argparse
import csv
import hashlib
import json
import math
import pathlib
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEACHER = "shapes"
UNIFORM = {"alpha": 1, "beta": 1}
FAMILIES = ["single_object", "two_object", "counting", "colors", "position", "color_attr"]


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
    # "quantize": no training; "stage1", "stage2": the last stage; "teacher": the full-precision model after stage II.
    kind: str = "stage1"
    start: str | None = None  # the rung whose student stage II starts from


RUNGS = [
    Rung("post-training", "1.99 bits without training, packed, int8 activations", kind="quantize"),
    Rung("lsq", "2 bits, LSQ's grid, min-max", "2bit", "min-max", "lsq", features=False, timesteps=UNIFORM),
    Rung("balanced", "+ balanced grid", "2bit", "min-max", features=False, timesteps=UNIFORM),
    Rung("alternating", "+ alternating initialization", "2bit", features=False, timesteps=UNIFORM),
    Rung("threshold", "+ mixed precision and time caching, 1.99 bits, the paper's threshold", "threshold",
         features=False, timesteps=UNIFORM),
    Rung("optimal", "+ exact allocation in place of the threshold", features=False, timesteps=UNIFORM),
    Rung("features", "+ feature distillation", timesteps=UNIFORM),
    Rung("beta", "+ timesteps from Beta(3, 1): stage I"),
    Rung("stage2", "+ stage II", kind="stage2", start="beta"),
    Rung("teacher-tuned", "full precision, trained with the loss of stage II for as many steps as both stages",
         kind="teacher"),
]


class Ladder:
    def __init__(self, options):
        self.program = str(pathlib.Path(options.program).resolve())
        self.output = pathlib.Path(options.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.seeds = [0] if options.quick else list(range(options.seeds))
        self.scales = [3.0] if options.quick else [2.0, 3.0, 5.0]
        self.prompts = options.prompts_per_family or (50 if options.quick else 170)
        self.steps = options.steps
        self.commands = []
        self.version = subprocess.run([self.program, "--version"], check=True, capture_output=True, text=True).stdout

    def file(self, name):
        return self.output / name

    def run(self, *arguments, makes, resumes=False):
        """Runs a command unless it has made its file from the same inputs before.

        The file `makes`.run next to the result describes the run. Training and analyses continue their own unfinished
        file, and replace one of another run.
        """
        command = [str(argument) for argument in arguments]
        text = shlex.join(["bitsfusion", *command])
        if text not in self.commands:
            self.commands.append(text)
        record = self.file(makes + ".run")
        described = {"command": text, "version": self.version, "inputs": self.inputs(command)}
        known = json.loads(record.read_text()) if record.exists() else {}
        is_same = {key: known.get(key) for key in described} == described
        if is_same and known["finished"] and self.file(makes).exists():
            return
        record.write_text(json.dumps({**described, "finished": False}, indent=1) + "\n")
        continuation = (["--resume"] if is_same else ["--overwrite"]) if resumes else []
        print(f"\n$ {text}", flush=True)
        # The terminal sends Ctrl-C to the program, too, which saves and stops.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        program = subprocess.Popen(
            [self.program, *command, *continuation], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        status = program.wait()
        signal.signal(signal.SIGINT, previous)
        if status != 0:
            sys.exit(f"ladder: stopped by {text}")
        record.write_text(json.dumps({**described, "finished": True}, indent=1) + "\n")

    def inputs(self, command):
        """The contents of the files that a command reads: all files among its arguments but those it writes."""
        written = {command[index + 1] for index, option in enumerate(command) if option in ("-o", "--image-scores")}
        files = [argument for argument in command[1:] if argument not in written and pathlib.Path(argument).is_file()]
        return {file: hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest() for file in files}

    # Recipes

    def recipes(self):
        table = self.file("sensitivity.json")
        self.run("analyze", TEACHER, "--measure", "noise", "-o", table, makes=table.name, resumes=True)
        for name, options in {
            "2bit": ["--avg-bits", "9", "--pin", ".*=2"],
            "threshold": ["--avg-bits", "1.99", "--method", "threshold", "--no-clip-bonus"],
            "optimal": ["--avg-bits", "1.99"],
        }.items():
            recipe = self.file(name + ".json")
            self.run("allocate", table, *options, "-o", recipe, makes=recipe.name)

    # Training

    def config(self, rung):
        """The settings of a rung, in a file of its own."""
        text = subprocess.run(
            [self.program, "distill", "--stage", "1", "--model", TEACHER, "--print-config"], check=True,
            capture_output=True, text=True).stdout
        settings = yaml.safe_load(text)
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
            self.run("quantize", TEACHER, "--recipe", recipe, "-o", self.file(makes), makes=makes)
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

    def evaluate(self, seed):
        packed = f"packed-{seed}.h5"
        self.run("pack", self.file(f"stage2-{seed}.h5"), "-o", self.file(packed), makes=packed)
        models = [TEACHER] + [self.file(self.model(rung, seed)) for rung in RUNGS] + [self.file(packed)]
        for scale in self.scales:
            name = f"scores-{seed}-{scale:g}"
            self.run(
                "evaluate", *models, "--prompts-per-family", self.prompts, "--sampler", "ddim", "--steps", 25,
                "--guidance-scale", f"{scale:g}", "--image-scores", self.file(name + ".csv"), "-o",
                self.file(name + ".json"), makes=name + ".json")

    def scores(self):
        """Per model: columns of per-image values over all seeds and guidance scales, and the means of each table."""
        titles = [("teacher", "full precision")] + [(r.name, r.title) for r in RUNGS] + [
            ("packed", "packed stage II, int8 activations")]
        result = {name: Scores(title) for name, title in titles}
        for seed in self.seeds:
            for scale in self.scales:
                name = f"scores-{seed}-{scale:g}"
                with open(self.file(name + ".csv"), newline="") as file:
                    rows = list(csv.DictReader(file))
                table = json.loads(self.file(name + ".json").read_text())["rows"]
                for (key, _), scored in zip(titles, table, strict=True):
                    result[key].add(seed, [row for row in rows if row["model"] == scored["model"]], scored)
        return result


class Scores:
    """The scores of one model."""

    def __init__(self, title):
        self.title = title
        self.images = []  # (training seed, seed of the prompt's noise, family, satisfied, clip, psnr)
        self.tables = []

    def add(self, seed, rows, table):
        for row in rows:
            self.images.append(
                (seed, int(row["seed"]), row["family"], int(row["satisfied"]), float(row["clip"]), float(row["psnr"])))
        self.tables.append(table)

    def column(self, index):
        return numpy.array([image[index] for image in self.images], dtype=float)

    def family(self, name):
        return numpy.mean([image[3] for image in self.images if image[2] == name])

    def mean(self, *keys):
        values = []
        for table in self.tables:
            value = table
            for key in keys:
                value = value[key]
            values.append(value)
        return float(numpy.mean(values))


def paired(model, baseline, column):
    """Mean difference of two models and the half-width of its 95 % interval.

    The values of one prompt under all training seeds and guidance scales are averaged first, because they are not
    independent. The interval is over prompts, for these training seeds.
    """
    if [image[:2] for image in model.images] != [image[:2] for image in baseline.images]:
        sys.exit(f"ladder: {model.title} and {baseline.title} have different prompts; delete the output folder")
    difference = model.column(column) - baseline.column(column)
    prompts = {}
    for image, value in zip(model.images, difference):
        prompts.setdefault(image[1], []).append(value)
    by_prompt = numpy.array([numpy.mean(values) for values in prompts.values()])
    return by_prompt.mean(), 1.96 * math.sqrt(by_prompt.var(ddof=1) / len(by_prompt))


def by_seed(model, baseline, column):
    """The mean difference for each training seed."""
    difference, seeds = model.column(column) - baseline.column(column), model.column(0)
    return ", ".join(f"{difference[seeds == seed].mean():+.3f}" for seed in numpy.unique(seeds))


def signed(value, width):
    return f"{value:+.4f} ± {width:.4f}"


def report(ladder, scores):
    teacher = scores["teacher"]
    lines = [
        "# Results", "",
        "The paper's ablation (BitsFusion, table 4) on the shipped model, written by `make ladder` "
        "(`scripts/ladder.py`).", "",
        f"{len(ladder.seeds)} training seed(s), {6 * ladder.prompts:,} prompts, guidance scales "
        f"{', '.join(f'{scale:g}' for scale in ladder.scales)}, DDIM with 25 steps. Differences to full precision are "
        "of the same prompts and initial noise, with 95 % intervals: mean ± 1.96 standard errors over prompts, for "
        "these training seeds, whose differences are listed one by one. Bits of models in full precision are those of "
        "their files.", "",
        "| model | bits | compositional score | difference | by training seed | CLIP-proxy | difference | Fréchet "
        "| PSNR to full precision | noise error |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, model in scores.items():
        psnr = model.column(5)
        cells = [
            model.title, f"{model.mean('size', 'averageBits'):.2f}", f"{model.column(3).mean():.3f}",
            "" if name == "teacher" else signed(*paired(model, teacher, 3)),
            "" if name == "teacher" else by_seed(model, teacher, 3), f"{model.column(4).mean():.3f}",
            "" if name == "teacher" else signed(*paired(model, teacher, 4)),
            f"{model.mean('score', 'frechetDistance'):.2f}",
            "" if name == "teacher" else f"{psnr[numpy.isfinite(psnr)].mean():.1f} dB",
            "" if name == "teacher" else f"{model.mean('score', 'noiseError'):.5f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Compositional score by family:", "",
              "| model | " + " | ".join(FAMILIES) + " |", "|---|" + "---:|" * len(FAMILIES)]
    for model in scores.values():
        lines.append(f"| {model.title} | " + " | ".join(f"{model.family(name):.3f}" for name in FAMILIES) + " |")
    lines += ["", "Comparisons:", "", "| comparison | compositional score | CLIP-proxy |", "|---|---:|---:|"]
    for first, second in [
        ("packed", "teacher"), ("packed", "teacher-tuned"), ("packed", "stage2"), ("stage2", "beta"),
        ("optimal", "threshold"), ("features", "optimal"), ("beta", "features"), ("alternating", "balanced"),
        ("balanced", "lsq"),
    ]:
        values = [signed(*paired(scores[first], scores[second], column)) for column in (3, 4)]
        lines.append(f"| {scores[first].title} − {scores[second].title} | {values[0]} | {values[1]} |")
    lines += ["", "Noise error by timestep:", ""]
    points = [point["timestep"] for point in teacher.tables[0]["score"]["noiseErrorCurve"]]
    lines += ["| model | " + " | ".join(f"t = {point}" for point in points) + " |", "|---|" + "---:|" * len(points)]
    for name in ("post-training", "features", "beta", "stage2"):
        curves = [[p["error"] for p in table["score"]["noiseErrorCurve"]] for table in scores[name].tables]
        lines.append(
            f"| {scores[name].title} | " + " | ".join(f"{value:.5f}" for value in numpy.mean(curves, axis=0)) + " |")
    lines += ["", "Commands, in order:", "", "```"] + ladder.commands + ["```", ""]
    return "\n".join(lines)


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
        ladder.evaluate(seed)
    path = pathlib.Path(
        options.report or (ladder.file("results.md") if options.quick else ROOT / "Docs/Results.md"))
    path.write_text(report(ladder, ladder.scores()))
    print(f"\n{path}")


if __name__ == "__main__":
    main()
