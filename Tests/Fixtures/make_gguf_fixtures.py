# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/PackingTests/Fixtures/gguf-blocks.json: rows of codes as blocks of GGUF files.

Run by hand:  python Tests/Fixtures/make_gguf_fixtures.py      (gguf 0.19.0, numpy)

The package `gguf` has no function that writes given codes. The blocks are put together here, and are only written to
the fixture if the package's dequantizers return code times scale for each weight, bit for bit.
"""

import json
import pathlib

import gguf
import numpy

PATH = pathlib.Path(__file__).resolve().parents[1] / "PackingTests/Fixtures/gguf-blocks.json"
RANGES = {"Q2_K": (-1, 2), "Q3_K": (-4, 3), "Q4_0": (-8, 7), "Q5_0": (-16, 15), "Q6_K": (-32, 31), "Q8_0": (-128, 127)}


def low_pairs(q):
    """The two low bits of 256 codes: bytes of four codes that are 32 apart."""
    q = (q & 3).reshape(-1, 2, 4, 32)
    return (q << numpy.array([0, 2, 4, 6]).reshape(4, 1)).sum(axis=2).reshape(-1, 64)


def blocks(name, q, scale):
    """The bytes of blocks [blocks, bytes] of codes [blocks, codes], counted from the smallest one."""
    count = len(q)
    d = numpy.tile(numpy.frombuffer(numpy.float16(scale).tobytes(), numpy.uint8), (count, 1))
    if name == "Q8_0":
        parts = [d, (q - 128).astype(numpy.int8).view(numpy.uint8)]
    elif name == "Q4_0":
        parts = [d, q[:, :16] | q[:, 16:] << 4]
    elif name == "Q5_0":
        high = numpy.packbits(q >> 4, axis=1, bitorder="little")
        parts = [d, high, q[:, :16] & 15 | (q[:, 16:] & 15) << 4]
    elif name == "Q2_K":
        parts = [numpy.full((count, 16), 0x11), low_pairs(q), d, d]
    elif name == "Q3_K":
        third = ((q >> 2).reshape(-1, 8, 32) << numpy.arange(8).reshape(8, 1)).sum(axis=1)
        # Sixteen sub-scales of 33 in six bits.
        parts = [third, low_pairs(q), numpy.tile([0x11] * 8 + [0xAA] * 4, (count, 1)), d]
    elif name == "Q6_K":
        groups = q.reshape(-1, 2, 4, 32)
        low = numpy.concatenate([groups[:, :, :2] & 15 | (groups[:, :, 2:] & 15) << 4], axis=2).reshape(-1, 128)
        high = ((groups >> 4) << numpy.array([0, 2, 4, 6]).reshape(4, 1)).sum(axis=2).reshape(-1, 64)
        parts = [low, high, numpy.ones((count, 16)), d]
    return numpy.concatenate([numpy.asarray(part).astype(numpy.uint8) for part in parts], axis=1)


def main():
    random = numpy.random.default_rng(7)
    rows = []
    for name, (low, high) in RANGES.items():
        kind = gguf.GGMLQuantizationType[name]
        size, byte_count = gguf.GGML_QUANT_SIZES[kind]
        codes = random.integers(low, high + 1, 512)
        codes[:2] = low, high
        scale = numpy.float16(random.uniform(0.001, 0.1))
        made = blocks(name, (codes - low).reshape(-1, size), scale)
        assert made.shape[1] == byte_count
        values = gguf.dequantize(made.reshape(1, -1), kind).reshape(-1)
        assert (values == codes.astype(numpy.float32) * numpy.float32(scale)).all(), name
        rows.append({
            "type": name, "number": int(kind), "scale": int(scale.view(numpy.uint16)), "codes": codes.tolist(),
            "bytes": made.tobytes().hex()})
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(json.dumps(rows, separators=(",", ":")) + "\n")
    print(PATH.name, PATH.stat().st_size)


if __name__ == "__main__":
    main()
