#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare two images: the largest difference of a channel and the peak signal-to-noise ratio.

    scripts/compare_images.py ours.png theirs.png --max-difference 1

Exit status: 0 within the limits, 1 beyond them or for images of different sizes, 2 for files that cannot be read.
Needs NumPy and Pillow.
"""

import argparse
import sys

import numpy as np
from PIL import Image


def read(path):
    try:
        return np.asarray(Image.open(path).convert("RGB"), dtype=np.int64)
    except OSError as error:
        print(f"compare_images.py: {path}: {error}", file=sys.stderr)
        sys.exit(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", metavar="A.png")
    parser.add_argument("second", metavar="B.png")
    parser.add_argument("--max-difference", type=int, metavar="N", help="limit of the largest difference, of 255")
    parser.add_argument("--min-psnr", type=float, metavar="DB", help="limit of the peak signal-to-noise ratio")
    options = parser.parse_args()
    if options.max_difference is None and options.min_psnr is None:
        options.max_difference = 1
    first, second = read(options.first), read(options.second)
    if first.shape != second.shape:
        (height, width, _), (other_height, other_width, _) = first.shape, second.shape
        print(f"sizes differ: {width}x{height} and {other_width}x{other_height}")
        return 1
    differences = np.abs(first - second)
    error = np.mean(differences**2)
    ratio = 10 * np.log10(255**2 / error) if error else np.inf
    print(f"largest difference {differences.max()} of 255, mean {differences.mean():.4f}, PSNR {ratio:.2f} dB, "
          f"{np.mean(differences == 0):.2%} equal, standard deviation {first.std():.1f} and {second.std():.1f}")
    is_beyond = options.max_difference is not None and differences.max() > options.max_difference
    return int(is_beyond or options.min_psnr is not None and ratio < options.min_psnr)


if __name__ == "__main__":
    sys.exit(main())
