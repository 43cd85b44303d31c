#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the noise in the flat background of images of a shapes model.

    bitsfusion dataset --synthesize prompts.txt --model shapes -o set.h5
    scripts/grain.py set.h5

The background of an image are the pixels at least 2 pixels away from all that differ from the image's median color by
more than a tenth of the range of values. Prints the standard deviation of these pixels around their mean, for each
color channel, as the mean over images and channels and as its 95th percentile over images, in shares of the range.
"""

import argparse

import h5py
import numpy


def background(image):
    """The mask [H, W] of the background of an image [C, H, W] with values -1 to 1."""
    median = numpy.median(image, axis=(1, 2), keepdims=True)
    differs = (numpy.abs(image - median) > 0.2).any(axis=0)
    height, width = differs.shape
    padded = numpy.pad(differs, 2)
    near = numpy.zeros_like(differs)
    for row in range(5):
        for column in range(5):
            near |= padded[row : row + height, column : column + width]
    return ~near


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="set of `bitsfusion dataset --synthesize`")
    options = parser.parse_args()
    with h5py.File(options.data) as file:
        images = numpy.concatenate([group["mean"][...] for group in file["latents"].values()]).astype(numpy.float64)
    found = []
    for image in images:
        mask = background(image)
        if mask.sum() >= 32:
            found.append(image[:, mask].std(axis=1).mean() / 2)
    if not found:
        parser.error(f"{options.data}: no image has a background of 32 pixels or more")
    print(
        f"{options.data}: background standard deviation {numpy.mean(found):.4f} of the range (95th percentile "
        f"{numpy.percentile(found, 95):.4f}), {len(found)} of {len(images)} images")


if __name__ == "__main__":
    main()
