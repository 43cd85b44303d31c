#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the loss curves of runs that follow each other, and writes them as a table.

    scripts/training_curves.py phase1-log phase2-log phase3-log teacher-log -o Docs/Images/teacher-training

Reads the file metrics.jsonl of each folder that --logging-dir named. Writes OUTPUT.csv with a row for every 100 steps
(run, step, mean loss, learning rate, validation loss) and OUTPUT.svg. Validation losses of different runs have other
timesteps and captions and cannot be compared. Takes matplotlib (`make benchmark-setup`).
"""

import argparse
import csv
import json
import pathlib

from experiment import figure, save

INTERVAL = 100


def rows(folder):
    """The points of one run: step, mean loss of the steps since the last point, learning rate, validation loss."""
    losses, validation = [], ""
    with open(pathlib.Path(folder) / "metrics.jsonl") as file:
        for record in map(json.loads, file):
            if "loss" in record:
                losses.append(record["loss"])
            if "validation/loss" in record:
                validation = f"{record['validation/loss']:.6f}"
            if losses and record["step"] % INTERVAL == 0:
                yield record["step"], sum(losses) / len(losses), record["learningRate"], validation
                losses, validation = [], ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="values of --logging-dir, in the order of the runs")
    parser.add_argument("-o", "--output", required=True, help="files to write, without their suffixes")
    options = parser.parse_args()
    plot, axes = figure()
    start = 0
    with open(options.output + ".csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["run", "step", "loss", "learning_rate", "validation_loss"])
        for number, folder in enumerate(options.folders, start=1):
            points = list(rows(folder))
            for step, loss, rate, validation in points:
                table.writerow([number, step, f"{loss:.6f}", f"{rate:.6g}", validation])
            line, = axes.plot(
                [start + point[0] for point in points], [point[1] for point in points], linewidth=0.8, alpha=0.6,
                label=f"run {number}, mean of {INTERVAL} steps")
            measured = [(start + step, float(validation)) for step, _, _, validation in points if validation]
            axes.plot(*zip(*measured), color=line.get_color(), marker="o", markersize=3, label="validation")
            start += points[-1][0]
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend(fontsize=7)
    save(plot, options.output + ".svg")


if __name__ == "__main__":
    main()
