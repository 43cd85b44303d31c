#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write JPEG files with the sizes and the detail of photographs, and captions, to measure `bitsfusion dataset`.

    scripts/make_photos.py photos --count 8

Needs NumPy and Pillow. Images are noise with the spectrum of photographs, about 1 / frequency.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image

SIZES = [(640, 640), (768, 576), (576, 768), (1024, 683)]


def photo(seed, width, height):
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1
    channels = []
    for _ in range(3):
        spectrum = np.fft.fft2(generator.standard_normal((height, width))) / frequency
        values = np.fft.ifft2(spectrum).real
        channels.append(127.5 + 50 * (values - values.mean()) / values.std())
    return Image.fromarray(np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=8)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for index in range(options.count):
        width, height = SIZES[index % len(SIZES)]
        photo(index, width, height).save(options.folder / f"{index:06}.jpg", quality=90)
        (options.folder / f"{index:06}.txt").write_text(f"a photo of number {index}\n")


if __name__ == "__main__":
    main()
