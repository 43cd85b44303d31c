# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/ImagesTests/Fixtures/png.json and resizing.json: PNG files of all kinds and Pillow's pixels.

Run by hand:  python Tests/Fixtures/make_image_fixtures.py      (Pillow 13, which diffusers installs; numpy)

Files and pixels are stored as base64.
"""

import base64
import io
import json
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image

from fixture_values import uniform

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "ImagesTests" / "Fixtures"
WIDTH, HEIGHT = 7, 5
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
# First column, first row, column step, row step of Adam7's passes.
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def bytes_of(name, count):
    return ((uniform(name, (count,)) + 1) * 128).astype(np.uint8)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def packed_rows(samples, depth):
    """Rows of `samples` [height, width * channels] as PNG stores them, filter type 0."""
    for row in samples:
        if depth == 16:
            data = row.astype(">u2").tobytes()
        elif depth == 8:
            data = row.astype(np.uint8).tobytes()
        else:
            bits = ((row[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).ravel()
            data = np.packbits(bits).tobytes()
        yield b"\0" + data


def png(color, depth, interlaced=False, extra=b""):
    channels = CHANNELS[color]
    values = bytes_of(f"png {color} {depth}", HEIGHT * WIDTH * channels * 2).astype(np.int64)
    samples = (values[::2] << 8 | values[1::2]).reshape(HEIGHT, WIDTH, channels) >> (16 - depth)
    if interlaced:
        parts = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
    else:
        parts = [samples]
    data = b"".join(b"".join(packed_rows(part.reshape(part.shape[0], -1), depth)) for part in parts if part.size)
    if color == PALETTE:
        extra = chunk(b"PLTE", bytes_of(f"palette {depth}", 3 << depth).tobytes()) + extra
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, color, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(data))
            + chunk(b"IEND", b""))


def text(data):
    return base64.b64encode(data).decode()


def case(name, file):
    image = Image.open(io.BytesIO(file))
    pixels = np.asarray(image.convert("RGB"))
    if image.mode == "I;16":
        # Pillow clips at 255; the reader keeps the upper byte, as Pillow does for 16-bit RGB.
        pixels = np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return {"name": name, "file": text(file), "pixels": text(pixels.tobytes())}


cases = []
for color, depths in ((GRAY, (1, 2, 4, 8, 16)), (RGB, (8, 16)), (PALETTE, (1, 2, 4, 8)), (GRAY_ALPHA, (8, 16)),
                      (RGB_ALPHA, (8, 16))):
    for depth in depths:
        for interlaced in (False, True):
            label = f"color type {color}, {depth} bits{', interlaced' if interlaced else ''}"
            cases.append(case(label, png(color, depth, interlaced)))
cases.append(case("palette with transparency", png(PALETTE, 4, extra=chunk(b"tRNS", bytes(range(0, 160, 10))))))
cases.append(case("RGB with a transparent color", png(RGB, 8, extra=chunk(b"tRNS", bytes(6)))))
cases.append(case("gray with a transparent color", png(GRAY, 8, extra=chunk(b"tRNS", b"\0\x80"))))
cases.append(case("gamma 1", png(RGB, 8, extra=chunk(b"gAMA", struct.pack(">I", 100000)))))
# All row filters occur in what Pillow writes for a smooth image.
smooth = np.add.outer(np.arange(24) ** 2 // 3, np.arange(40) * 5)[..., None] + np.array([0, 40, 90])
stream = io.BytesIO()
Image.fromarray(smooth.astype(np.uint8)).save(stream, "PNG")
cases.append({**case("smooth", stream.getvalue()), "width": 40, "height": 24})
OUTPUT.mkdir(parents=True, exist_ok=True)
(OUTPUT / "png.json").write_text(json.dumps({"width": WIDTH, "height": HEIGHT, "cases": cases}, indent=0) + "\n")

SIZES = [((13, 9), (8, 8)), ((13, 9), (26, 18)), ((13, 9), (13, 20)), ((13, 9), (5, 9)), ((64, 48), (8, 16)),
         ((5, 4), (64, 3)), ((1, 1), (3, 2)), ((31, 2), (1, 1)), ((100, 3), (7, 3)),
         ((13, 19), (8, 8)), ((13, 21), (8, 10)), ((13, 22), (9, 14))]
resizing = []
for (width, height), size in SIZES:
    image = bytes_of(f"resizing {width}x{height}", width * height * 3).reshape(height, width, 3)
    if width == 13:
        # Edges between black and white overshoot and are clamped.
        image = np.where(image > 127, 255, 0).astype(np.uint8)
    result = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    resizing.append({
        "width": width, "height": height, "pixels": text(image.tobytes()), "newWidth": size[0], "newHeight": size[1],
        "resized": text(np.asarray(result).tobytes()), "gray": text(np.asarray(result.convert("L")).tobytes())})
(OUTPUT / "resizing.json").write_text(json.dumps(resizing, indent=0) + "\n")
for path in sorted(OUTPUT.glob("*.json")):
    print(path.name, path.stat().st_size)
