# SPDX-License-Identifier: Apache-2.0
"""Noise predictions and training steps of diffusers' UNet2DConditionModel."""

import json
import pathlib

import diffusers
import torch


def build(tensors, config: str, dtype: torch.dtype):
    """diffusers' model of the file `config`, with the parameters `unet.*` in `dtype`."""
    # Without memory for parameters that are given anyway.
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel.from_config(json.loads(pathlib.Path(config).read_text()))
    state = {key.removeprefix("unet."): tensors[key].to(dtype) for key in tensors if key.startswith("unet.")}
    unet.load_state_dict(state, assign=True)
    return unet


def take_inputs(tensors, dtype: torch.dtype) -> dict:
    """What a UNet is called with; timesteps stay float32, as schedulers give them."""
    return {
        "sample": tensors["sample"].to(dtype),
        "timestep": tensors["timestep"],
        "encoder_hidden_states": tensors["encoder_hidden_states"].to(dtype),
    }


class UNetForward:
    """A prediction in inference mode, all in one type."""

    def __init__(self, tensors, settings: dict, dtype: torch.dtype):
        self.unet = build(tensors, settings["config"], dtype).eval()
        self.inputs = take_inputs(tensors, dtype)
        self.output = None

    def prepare(self) -> None:
        pass

    def run(self) -> None:
        with torch.inference_mode():
            self.output = self.unet(**self.inputs).sample

    def results(self) -> dict:
        self.run()
        return {"output": self.output}


OPERATIONS = {"unet_forward": UNetForward}
