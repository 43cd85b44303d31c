#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write a latent set (Docs/Formats.md) of random samples for Stable Diffusion 1.5, to measure the memory of training.

    scripts/make_random_set.py set.h5 --count 20000 --size 64

Needs NumPy and h5py.
"""

import argparse
import json

import h5py
import numpy as np

TOKENS, VOCABULARY = 77, 49406
BATCH = 500


def texts(file, name, values):
    encoded = [value.encode() for value in values]
    file[name] = np.frombuffer(b"".join(encoded), np.uint8)
    file[name + "_offsets"] = np.cumsum([0] + [len(value) for value in encoded])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=64, help="height and width of the latents")
    options = parser.parse_args()
    count, size = options.count, options.size
    generator = np.random.default_rng(0)
    with h5py.File(options.output, "w") as file:
        file.attrs["format"] = np.bytes_("bitsfusion-latents")
        file.attrs["format_version"] = 1
        settings = {
            "conditionChannels": 0, "model": "random", "options": {}, "scalingFactor": 0.18215, "shiftFactor": 0,
            "source": "random", "textEncoders": ["text_encoder"], "trajectoryTimesteps": []}
        for name, value in (("manifest", {}), ("settings", settings), ("skipped", [])):
            file["header/" + name] = np.bytes_(json.dumps(value))
        ids = generator.integers(0, VOCABULARY, (count, TOKENS), dtype=np.int32)
        ids[:, 0], ids[:, -1] = VOCABULARY, VOCABULARY + 1
        file["captions/input_ids"] = ids
        texts(file, "captions/text", [f"caption {index}" for index in range(count)])
        group = file.create_group(f"latents/{size}x{size}")
        shape = (count, 4, size, size)
        mean, logvar = (group.create_dataset(name, shape, np.float16) for name in ("mean", "logvar"))
        for start in range(0, count, BATCH):
            rows = min(BATCH, count - start)
            mean[start:start + rows] = generator.standard_normal((rows, *shape[1:])) * 5
            logvar[start:start + rows] = generator.standard_normal((rows, *shape[1:])) - 15
        pixels = 8.0 * size
        group["time_ids"] = np.tile(np.array([pixels, pixels, 0, 0, pixels, pixels], np.float32), (count, 1))
        group["captions"] = np.stack([np.arange(count), np.ones(count)], 1).astype(np.int32)
        texts(group, "key", [str(index) for index in range(count)])


if __name__ == "__main__":
    main()
