# SPDX-License-Identifier: Apache-2.0
"""Image files to latents with Pillow, torchvision's transforms for Pillow images, and diffusers' AutoencoderKL.

The transforms are written out: torchvision's Resize and CenterCrop of a Pillow image call these functions of Pillow.
"""

import pathlib

import numpy as np
import torch
from PIL import Image, ImageOps

import autoencoders


class EncodeImages:
    """The latent distributions of all images of a folder, in inference mode, in one element type."""

    def __init__(self, tensors, settings: dict, dtype: torch.dtype):
        self.vae = autoencoders.load(tensors, settings, dtype, unused=("decoder", "post_quant_conv"))
        self.dtype = dtype
        self.size = settings["size"]
        self.paths = sorted(pathlib.Path(settings["folder"]).glob("*.jpg"))

    def prepare(self) -> None:
        pass

    def pixels(self, path: pathlib.Path) -> torch.Tensor:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        width, height = image.size
        short, long = min(width, height), max(width, height)
        sides = (self.size, int(self.size * long / short))
        image = image.resize(sides if width <= height else sides[::-1], Image.Resampling.BILINEAR)
        left, top = round((image.width - self.size) / 2), round((image.height - self.size) / 2)
        image = image.crop((left, top, left + self.size, top + self.size))
        values = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (values[None] * 2 - 1).to(self.dtype)

    def run(self) -> None:
        with torch.inference_mode():
            for path in self.paths:
                distribution = self.vae.encode(self.pixels(path)).latent_dist
                distribution.mean.half().numpy(), distribution.logvar.half().numpy()

    def results(self) -> dict:
        with torch.inference_mode():
            return {"mean": self.vae.encode(self.pixels(self.paths[0])).latent_dist.mean}


OPERATIONS = {"encode_images": EncodeImages}
