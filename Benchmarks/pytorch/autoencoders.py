# SPDX-License-Identifier: Apache-2.0
"""Decoding with diffusers' AutoencoderKL."""

import json
import pathlib

import diffusers
import torch


def load(tensors, settings: dict, dtype: torch.dtype, unused: tuple[str, ...]) -> diffusers.AutoencoderKL:
    """The autoencoder of a config with the parameters `vae.*`, without its parts `unused`."""
    # On the meta device, because parameters are assigned afterwards.
    with torch.device("meta"):
        vae = diffusers.AutoencoderKL.from_config(json.loads(pathlib.Path(settings["config"]).read_text()))
    for part in unused:
        setattr(vae, part, None)
    vae.load_state_dict(
        {key.removeprefix("vae."): tensors[key].to(dtype) for key in tensors if key.startswith("vae.")}, assign=True)
    return vae.eval()


class Decode:
    """The image of latents in inference mode, in one element type."""

    def __init__(self, tensors, settings: dict, dtype: torch.dtype):
        self.vae = load(tensors, settings, dtype, unused=("encoder", "quant_conv"))
        self.latents = tensors["latents"].to(dtype)
        self.output = None

    def prepare(self) -> None:
        pass

    def run(self) -> None:
        with torch.inference_mode():
            self.output = self.vae.decode(self.latents).sample

    def results(self) -> dict:
        self.run()
        return {"output": self.output}


OPERATIONS = {"vae_decode": Decode}
