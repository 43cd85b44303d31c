#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replaces the weights of a model file by palettes, for comparisons: k-means of each weight tensor, without training,
as in Apple's mixed-bit palettization (ml-stable-diffusion, mixed_bit_compression_apply.py).

    scripts/palettes.py teacher.h5 recipe.json -o palettes.h5             # 2^b values for a layer of b bits
    scripts/palettes.py teacher.h5 recipe.json --bits 2 -o palettes.h5    # 4 values for every layer

The layers are those of the recipe; its first and last layer, of 8 bits, get 256 values. The file that is written has
dense weights. Prints the bits per weight that palettes and indices take: b, and 16 for each value.
"""

import argparse
import json
import shutil

import h5py
import numpy


def palette(values, count, rounds=50):
    """The centers of `count` clusters of `values`, ascending: Lloyd's algorithm from equal shares of the values."""
    ordered = numpy.sort(values)
    if len(numpy.unique(ordered)) <= count:
        return numpy.unique(ordered)
    sums = numpy.concatenate([[0], numpy.cumsum(ordered)])
    centers = numpy.quantile(ordered, (numpy.arange(count) + 0.5) / count)
    for _ in range(rounds):
        ends = numpy.searchsorted(ordered, (centers[1:] + centers[:-1]) / 2)
        ends = numpy.concatenate([[0], ends, [len(ordered)]])
        counts = numpy.diff(ends)
        means = numpy.diff(sums[ends]) / numpy.maximum(counts, 1)
        updated = numpy.where(counts > 0, means, centers)
        if numpy.array_equal(updated, centers):
            break
        centers = numpy.sort(updated)
    return centers


def nearest(values, centers):
    return centers[numpy.searchsorted((centers[1:] + centers[:-1]) / 2, values)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("recipe")
    parser.add_argument("--bits", type=int, help="of all layers but the first and last (default: the recipe's)")
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    if options.bits is not None and not 1 <= options.bits <= 8:
        parser.error("--bits: expected 1 to 8")
    with open(options.recipe) as file:
        layers = json.load(file)["layers"]
    shutil.copy(options.model, options.output)
    stored, count = 0, 0
    with h5py.File(options.output, "r+") as model:
        for path, bits in layers.items():
            if options.bits and bits != 8:
                bits = options.bits
            weight = model["unet/" + path.replace(".", "/") + "/weight"]
            values = weight[...].astype(numpy.float64)
            centers = palette(values.ravel(), 2**bits)
            weight[...] = nearest(values, centers).astype(weight.dtype)
            stored += bits * values.size + 16 * 2**bits
            count += values.size
    print(f"{options.output}: {stored / count:.4f} bits per weight of {len(layers)} layers")


if __name__ == "__main__":
    main()
