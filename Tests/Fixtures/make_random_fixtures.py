# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/TensorsTests/Fixtures/torch-random.json: what torch.randn draws with CPU generators.

Run by hand:  python Tests/Fixtures/make_random_fixtures.py      (torch 2.15.0, on x86 with AVX2)

Each sequence is one generator and consecutive draws. A draw is stored as the CRC-32 of its float32 bytes and the bits
of its first and last values.
"""

import json
import pathlib
import zlib

import numpy as np
import torch

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "TensorsTests" / "Fixtures" / "torch-random.json"

LATENTS = [1, 4, 64, 64]
SEQUENCES = [
    (0, [LATENTS]),
    (1024, [LATENTS, LATENTS]),
    (42, [[1, 4, 8, 8], [1, 4, 8, 8], [1, 4, 8, 8]]),
    (7, [[3], [17], [2, 4, 5, 7], [1], [16], [15], [1], [31]]),
    # The second value of a pair waits while larger draws are made.
    (2**32 + 7, [[1], [2, 4, 5, 7], [1], [1], [33]]),
    (2**63 + 12345, [[2], [1, 4, 8, 8]]),
    (2**64 - 1, [[3], [1, 4, 9, 11]]),
    (123456789, [[1, 4, 128, 96]]),
]


def draw(generator, shape):
    values = torch.randn(shape, generator=generator, dtype=torch.float32).numpy()
    bits = values.ravel().view(np.uint32)
    return {"shape": shape, "digest": zlib.crc32(values.tobytes()), "first": bits[:20].tolist(),
            "last": bits[-4:].tolist()}


fixture = []
for seed, shapes in SEQUENCES:
    # manual_seed takes signed numbers; negative ones count from 2^64 down.
    generator = torch.Generator("cpu").manual_seed(seed if seed < 2**63 else seed - 2**64)
    fixture.append({"seed": str(seed), "draws": [draw(generator, shape) for shape in shapes]})
OUTPUT.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
print(OUTPUT.name, OUTPUT.stat().st_size)
