# SPDX-License-Identifier: Apache-2.0
"""Resumable experiments with the program: commands that run once, and paired comparisons of their image scores."""

import csv
import hashlib
import json
import math
import pathlib
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field

import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEACHER = "shapes"
FAMILIES = ["single_object", "two_object", "counting", "colors", "position", "color_attr"]
STEPS = 15
SAMPLING = ["--sampler", "ddim", "--steps", STEPS]
CACHING = ["--sampler", "ddim", "--cached-steps", STEPS]


class Experiment:
    """Commands of one experiment, whose files are in one folder."""

    def __init__(self, program, output):
        self.program = str(pathlib.Path(program).resolve())
        self.output = pathlib.Path(output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.commands = []
        self.version = self.capture("--version")
        # Commands name the shipped model by a word, not by its file.
        shipped = pathlib.Path(self.program).parent / "bitsfusion_ShapesWorld.resources/teacher.h5"
        self.teacher = hashlib.sha256(shipped.read_bytes()).hexdigest()

    def file(self, name):
        return self.output / name

    def capture(self, *arguments):
        """The output of a command that writes no files."""
        command = [self.program, *(str(argument) for argument in arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def run(self, *arguments, makes, resumes=False, program=None):
        """Runs a command unless it has made its file from the same inputs before.

        The file `makes`.run next to the result describes the run. Training and analyses continue their own unfinished
        file, and replace one of another run. `program` is another program than bitsfusion, as a list.
        """
        command = [str(argument) for argument in arguments]
        text = shlex.join([*(program or ["bitsfusion"]), *command])
        if text not in self.commands:
            self.commands.append(text)
        record = self.file(makes + ".run")
        described = {
            "command": text, "version": self.version, "teacher": self.teacher, "inputs": self.inputs(command)}
        known = json.loads(record.read_text()) if record.exists() else {}
        is_same = {key: known.get(key) for key in described} == described
        if is_same and known["finished"] and self.file(makes).exists():
            return
        record.write_text(json.dumps({**described, "finished": False}, indent=1) + "\n")
        continuation = (["--resume"] if is_same else ["--overwrite"]) if resumes else []
        print(f"\n$ {text}", flush=True)
        # The terminal sends Ctrl-C to the program, too, which saves and stops.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        process = subprocess.Popen(
            [*(program or [self.program]), *command, *continuation],
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        status = process.wait()
        signal.signal(signal.SIGINT, previous)
        if status != 0:
            sys.exit(f"{self.output}: stopped by {text}")
        record.write_text(json.dumps({**described, "finished": True}, indent=1) + "\n")

    def inputs(self, command):
        """The contents of the files that a command reads: all files among its arguments but those it writes."""
        written = {command[index + 1] for index, option in enumerate(command) if option in ("-o", "--image-scores")}
        files = [argument for argument in command if argument not in written and pathlib.Path(argument).is_file()]
        return {file: hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest() for file in files}

    def coded_bits(self, packed):
        """The average bits of a packed file with the stored size of the codes in place of log2(levels)."""
        report = json.loads(self.capture("info", packed, "--json"))
        parts = {part["name"]: part["bytes"] for part in report["quantized"]["parts"]}
        return 8 * (parts["quantized weights"] + parts["time features"]) / report["weights"]

    def evaluate(self, name, models, prompts_per_family, scale=3.0, seed=1024):
        """Scores of all models on the same prompts and initial noise: the files `name`.json and `name`.csv."""
        self.run(
            "evaluate", *models, "--prompts-per-family", prompts_per_family, *SAMPLING, "--guidance-scale",
            f"{scale:g}", "--seed", seed, "--image-scores", self.file(name + ".csv"), "-o", self.file(name + ".json"),
            makes=name + ".json")

    def scores(self, name):
        """The rows of the CSV file, and the scores of the JSON file, in the order of the models."""
        with open(self.file(name + ".csv"), newline="") as file:
            rows = list(csv.DictReader(file))
        tables = json.loads(self.file(name + ".json").read_text())["rows"]
        return [([row for row in rows if row["model"] == table["model"]], table) for table in tables]


@dataclass
class Scores:
    """The scores of one model, of all its training seeds and guidance scales."""

    title: str
    # By (training seed, guidance scale, seed of the initial noise): family, satisfied, CLIP-proxy, PSNR.
    images: dict = field(default_factory=dict)
    tables: list = field(default_factory=list)

    def add(self, seed, scale, rows, table):
        for row in rows:
            self.images[seed, scale, int(row["seed"])] = (
                row["family"], int(row["satisfied"]), float(row["clip"]), float(row["psnr"]))
        self.tables.append(table)

    def column(self, index):
        return numpy.array([image[index] for image in self.images.values()], dtype=float)

    def psnr(self):
        """The mean over images; equal ones, of infinite PSNR, count as 60 dB."""
        return numpy.minimum(self.column(3), 60).mean()

    def family(self, name):
        return numpy.mean([image[1] for image in self.images.values() if image[0] == name])

    def mean(self, *keys):
        values = []
        for table in self.tables:
            value = table
            for key in keys:
                value = value[key]
            values.append(value)
        return float(numpy.mean(values))


def differences(model, baseline, column):
    """The differences of two models' scores by image, for the images that both have."""
    keys = [key for key in model.images if key in baseline.images]
    if not keys:
        sys.exit(f"{model.title} and {baseline.title} have no prompts in common; delete the output folder")
    return keys, numpy.array([model.images[key][column] - baseline.images[key][column] for key in keys], dtype=float)


def paired(model, baseline, column):
    """Mean difference of two models and the half-width of its 95 % interval.

    The values of one prompt under all training seeds are averaged first, because they are not independent. The interval
    is over prompts, for these training seeds.
    """
    keys, values = differences(model, baseline, column)
    prompts = {}
    for key, value in zip(keys, values):
        prompts.setdefault(key[1:], []).append(value)
    by_prompt = numpy.array([numpy.mean(values) for values in prompts.values()])
    return by_prompt.mean(), 1.96 * math.sqrt(by_prompt.var(ddof=1) / len(by_prompt))


def by_seed(model, baseline, column):
    """The mean difference for each training seed."""
    keys, values = differences(model, baseline, column)
    seeds = numpy.array([key[0] for key in keys])
    return ", ".join(f"{values[seeds == seed].mean():+.3f}" for seed in numpy.unique(seeds))


def signed(value, width):
    return f"{value:+.4f} ± {width:.4f}"


def figure(width=7, height=4):
    """An empty plot whose SVG file depends on its content only."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "bitsfusion", "font.size": 9, "svg.fonttype": "none"})
    from matplotlib import pyplot

    plot, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return plot, axes


def save(plot, path):
    plot.savefig(path, metadata={"Date": None})
