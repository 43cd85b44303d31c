# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/ImagesTests/Fixtures: image files of all kinds with Pillow's pixels, and resized images.

Run by hand:  python Tests/Fixtures/make_image_fixtures.py      (Pillow 13, which diffusers installs; numpy, torch)

png.json has PNG files, images.json JPEG and WebP files and orientations, resizing.json images resized with Pillow's
Lanczos filter, training.json images resized and cropped as torchvision's Resize and CenterCrop do it. Files and pixels
are stored as base64.
"""

import base64
import io
import json
import pathlib
import struct
import zlib

import numpy as np
import torch
from PIL import Image, ImageOps

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

# Photos have smooth parts and edges; 4:2:0 needs odd sizes for incomplete blocks.
PHOTO_WIDTH, PHOTO_HEIGHT = 21, 13
columns, rows = np.meshgrid(np.arange(PHOTO_WIDTH), np.arange(PHOTO_HEIGHT))
photo = np.stack([columns * 12, rows * 19, (columns * rows) % 256], axis=2)
photo[4:9, 6:15] = [230, 40, 20]
photo = photo.astype(np.uint8)
alpha = ((columns * 31 + rows * 17) % 256).astype(np.uint8)


def saved(pixels, kind, mode=None, **options):
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(stream, kind, **options)
    return stream.getvalue()


def jpeg(mode=None, **options):
    return saved(photo, "JPEG", mode, **options)


def without_adobe(file):
    start = file.index(b"\xff\xee")
    return file[:start] + file[start + 2 + struct.unpack(">H", file[start + 2:start + 4])[0]:]


def as_ycck(file):
    """The same values with Adobe's transform 2, so that they are read as YCCK."""
    start = file.index(b"Adobe") + 11
    return file[:start] + b"\2" + file[start + 1:]


def exif(orientation, order=">", kind=3):
    """A TIFF header with two tags; the second one is the orientation, of type SHORT (3) or LONG (4)."""
    mark = b"MM\0*" if order == ">" else b"II*\0"
    value = struct.pack(order + ("H2x" if kind == 3 else "I"), orientation)
    return (mark + struct.pack(order + "IH", 8, 2) + struct.pack(order + "HHI4s", 0x0100, 3, 1, b"\0\1\0\0")
            + struct.pack(order + "HHI", 0x0112, kind, 1) + value + bytes(4))


def xmp(orientation, is_attribute=True):
    tag = f'="{orientation}"/>' if is_attribute else f">{orientation}</tiff:Orientation>"
    return f"<x:xmpmeta><tiff:Orientation/><rdf:Description tiff:Orientation{tag}</x:xmpmeta>".encode()


def jpeg_with(*segments):
    """A JPEG file with APP1 segments after the start."""
    file = jpeg(quality=90)
    parts = [b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment for segment in segments]
    return file[:2] + b"".join(parts) + file[2:]


def riff(*chunks):
    """A WebP file from chunks (name, content)."""
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) for name, content in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def number24(value):
    return struct.pack("<I", value)[:3]


def canvas(flags, width=PHOTO_WIDTH, height=PHOTO_HEIGHT):
    return b"VP8X", struct.pack("<I", flags) + number24(width - 1) + number24(height - 1)


def animation(width, height, x, y):
    """An animation whose first frame, at (x, y), does not cover the canvas."""
    frames = []
    for offset, pixels in (((x, y), photo), ((0, 0), photo[:4, :4])):
        image = saved(np.ascontiguousarray(pixels), "WEBP", lossless=True)[12:]
        place = number24(offset[0] // 2) + number24(offset[1] // 2)
        size = number24(pixels.shape[1] - 1) + number24(pixels.shape[0] - 1)
        frames.append((b"ANMF", place + size + number24(100) + b"\0" + image))
    return riff(canvas(2, width, height), (b"ANIM", b"\xff\xff\xff\xff\0\0"), *frames)


def photo_case(name, file):
    with Image.open(io.BytesIO(file)) as image:
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    return {"name": name, "file": text(file), "width": pixels.shape[1], "height": pixels.shape[0],
            "pixels": text(pixels.tobytes())}


png_file = saved(photo, "PNG")
exif_chunk = chunk(b"eXIf", exif(6))
xmp_chunk = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(8))
lossless = saved(photo, "WEBP", lossless=True)[12:]
lossless_chunk = (lossless[:4], lossless[8:])
transparent = np.dstack([photo, alpha])
files = [
    ("JPEG, 4:4:4", jpeg(quality=90, subsampling="4:4:4")),
    ("JPEG, 4:2:2", jpeg(quality=90, subsampling="4:2:2")),
    ("JPEG, 4:2:0", jpeg(quality=90, subsampling="4:2:0")),
    ("JPEG, 4:2:0, low quality", jpeg(quality=20, subsampling="4:2:0")),
    ("JPEG, progressive, 4:2:0", jpeg(quality=80, subsampling="4:2:0", progressive=True)),
    ("JPEG, progressive, 4:4:4", jpeg(quality=95, subsampling="4:4:4", progressive=True)),
    ("JPEG, restart markers", jpeg(quality=80, subsampling="4:4:4", restart_marker_blocks=1)),
    ("JPEG, RGB", jpeg(quality=90, keep_rgb=True)),
    ("JPEG, gray", jpeg("L", quality=90)),
    ("JPEG, gray, progressive", jpeg("L", quality=90, progressive=True)),
    ("JPEG, CMYK", jpeg("CMYK", quality=90)),
    ("JPEG, CMYK, progressive", jpeg("CMYK", quality=90, progressive=True)),
    ("JPEG, CMYK without Adobe's marker", without_adobe(jpeg("CMYK", quality=90))),
    ("JPEG, YCCK", as_ycck(jpeg("CMYK", quality=90))),
    ("JPEG, one pixel", saved(photo[5:6, 7:8], "JPEG")),
    ("JPEG, bytes after the end", jpeg(quality=50) + b"\0\1\2"),
    *((f"JPEG, orientation {value}", jpeg_with(b"Exif\0\0" + exif(value))) for value in range(1, 9)),
    ("JPEG, orientation out of range", jpeg_with(b"Exif\0\0" + exif(9))),
    ("JPEG, little-endian orientation", jpeg_with(b"Exif\0\0" + exif(6, "<"))),
    ("JPEG, orientation of 32 bits", jpeg_with(b"Exif\0\0" + exif(5, ">", 4))),
    ("JPEG, little-endian orientation of 32 bits", jpeg_with(b"Exif\0\0" + exif(8, "<", 4))),
    ("JPEG, orientation of XMP", jpeg_with(b"http://ns.adobe.com/xap/1.0/\0" + xmp(6))),
    ("JPEG, orientation of XMP's element", jpeg_with(b"http://ns.adobe.com/xap/1.0/\0" + xmp(3, is_attribute=False))),
    ("JPEG, orientations of EXIF and XMP",
     jpeg_with(b"http://ns.adobe.com/xap/1.0/\0" + xmp(6), b"Exif\0\0" + exif(2))),
    ("PNG, orientation", png_file[:33] + exif_chunk + png_file[33:]),
    ("PNG, orientation after the pixels", png_file[:-12] + exif_chunk + png_file[-12:]),
    ("PNG, orientation of XMP", png_file[:33] + xmp_chunk + png_file[33:]),
    ("WebP, lossy", saved(photo, "WEBP", quality=80)),
    ("WebP, lossy, low quality", saved(photo, "WEBP", quality=5)),
    ("WebP, lossless", riff(lossless_chunk)),
    ("WebP, lossy, alpha", saved(transparent, "WEBP", quality=80, exact=True)),
    ("WebP, lossless, alpha", saved(transparent, "WEBP", lossless=True, exact=True)),
    ("WebP, gray", saved(photo, "WEBP", "L", quality=80)),
    ("WebP, orientation", riff(canvas(8), lossless_chunk, (b"EXIF", exif(6)))),
    ("WebP, orientation after Exif", riff(canvas(8), lossless_chunk, (b"EXIF", b"Exif\0\0" + exif(7, "<")))),
    ("WebP, orientation of XMP", riff(canvas(4), lossless_chunk, (b"XMP ", xmp(5)))),
    ("WebP, animated", saved(photo, "WEBP", save_all=True, append_images=[Image.fromarray(255 - photo)], duration=100)),
    ("WebP, animated, first frame inside", animation(27, 17, 4, 2)),
]
photos = [photo_case(name, file) for name, file in files]
(OUTPUT / "images.json").write_text(json.dumps(photos, indent=0) + "\n")


def center(whole, part):
    """The first row or column of torchvision's CenterCrop."""
    return int(round((whole - part) / 2.0))


# Width and height, short side, width and height of the crop.
TRAINING = [((30, 20), 8, (8, 8)), ((20, 31), 9, (8, 9)), ((20, 31), 9, (5, 6)), ((9, 9), 4, (1, 2)),
            ((7, 5), 16, (16, 16)), ((40, 3), 3, (7, 3)), ((33, 32), 31, (30, 29)), ((64, 17), 5, (5, 5))]
training = []
for (width, height), side, crop in TRAINING:
    image = bytes_of(f"training {width}x{height}", width * height * 3).reshape(height, width, 3)
    long = int(side * max(width, height) / min(width, height))
    size = (side, long) if width <= height else (long, side)
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    # What torchvision's Resize computes for a tensor of type uint8.
    tensor = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None], size=size[::-1], mode="bilinear", antialias=True)
    x, y = center(size[0], crop[0]), center(size[1], crop[1])
    training.append({
        "width": width, "height": height, "pixels": text(image.tobytes()), "side": side,
        "resizedWidth": size[0], "resizedHeight": size[1], "resized": text(resized.tobytes()),
        "tensor": text(tensor[0].permute(1, 2, 0).contiguous().numpy().tobytes()),
        "cropX": x, "cropY": y, "cropWidth": crop[0], "cropHeight": crop[1],
        "cropped": text(resized[y:y + crop[1], x:x + crop[0]].tobytes())})
(OUTPUT / "training.json").write_text(json.dumps(training, indent=0) + "\n")
for path in sorted(OUTPUT.glob("*.json")):
    print(path.name, path.stat().st_size)
