#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints how long a training takes on a cluster, from a measured time and a stated network, as a table in Markdown.

    bitsfusion distill --stage 1 --model sd15.h5 --data set.h5 --config distill.yaml --dry-run
    scripts/cluster_forecast.py --sample-seconds 2.9

The first command measures the seconds per step on a machine like the cluster's nodes; divided by the samples of a step
they are --sample-seconds. The defaults are the paper's two stages, Stable Diffusion 1.5, and Ethernet of 10 Gbit/s.
`--write` replaces the table in Docs/Clusters.md. Takes Python 3.9.
"""

import argparse
import math
import pathlib

DOCUMENT = pathlib.Path(__file__).resolve().parent.parent / "Docs" / "Clusters.md"
BEGIN, END = "<!-- forecast: scripts/cluster_forecast.py -->\n", "<!-- end of forecast -->\n"
# The sums of the gradients are exchanged in groups of 2^23 values (`GradientBuckets`).
GROUP_VALUES = 2**23


def exchange_seconds(nodes, options):
    """One step's exchange by rings: the sums to their owners, then the weights to all."""
    volume = 2 * (nodes - 1) / nodes * options.parameters * 4
    groups = math.ceil(options.parameters / GROUP_VALUES)
    return volume * 8 / (options.gbit * 1e9) + 2 * (nodes - 1) * groups * options.latency_ms / 1e3


def rows(options):
    for stage, steps, batch in (("I", 20_000, 256), ("II", 50_000, 1024), ("I, small", 1000, 16)):
        for nodes in (1, 8, 32, 256):
            if nodes > batch:
                continue
            compute = math.ceil(batch / nodes) * options.sample_seconds
            exchange = exchange_seconds(nodes, options)
            hours = steps * (compute + exchange) / 3600
            yield stage, steps, batch, nodes, compute, exchange, hours


def table(options):
    lines = ["| stage | steps | batch | nodes | samples of a node, s | exchange, s | exchange / step | hours |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for stage, steps, batch, nodes, compute, exchange, hours in rows(options):
        share = exchange / (compute + exchange)
        lines.append(f"| {stage} | {steps:,} | {batch:,} | {nodes} | {compute:,.1f} | {exchange:.1f} | {share:.0%} | "
                     f"{hours:,.0f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample-seconds", type=float, required=True, help="measured seconds per sample of a node")
    parser.add_argument("--parameters", type=float, default=859.5e6, help="parameters that are trained")
    parser.add_argument("--gbit", type=float, default=10, help="speed of the network in Gbit/s")
    parser.add_argument("--latency-ms", type=float, default=0.05, help="latency of a message in ms")
    parser.add_argument("--write", action="store_true", help="replace the table in Docs/Clusters.md")
    options = parser.parse_args()
    text = (f"{options.sample_seconds:g} s per sample and node, {options.parameters / 1e6:,.1f} M parameters, "
            f"{options.gbit:g} Gbit/s, {options.latency_ms:g} ms:\n\n" + table(options))
    if not options.write:
        print(text, end="")
        return
    document = DOCUMENT.read_text()
    start, end = document.index(BEGIN) + len(BEGIN), document.index(END)
    DOCUMENT.write_text(document[:start] + "\n" + text + "\n" + document[end:])


if __name__ == "__main__":
    main()
