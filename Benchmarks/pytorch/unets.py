# SPDX-License-Identifier: Apache-2.0
"""Noise predictions and training steps of diffusers' UNet2DConditionModel."""

import json
import pathlib

import diffusers
import torch
import torch.nn.functional as F


def build(tensors, config: str, dtype: torch.dtype):
    """diffusers' model of the file `config`, with the parameters `unet.*` in `dtype`."""
    # On the meta device, because parameters are assigned afterwards.
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel.from_config(json.loads(pathlib.Path(config).read_text()))
    state = {key.removeprefix("unet."): tensors[key].to(dtype) for key in tensors if key.startswith("unet.")}
    unet.load_state_dict(state, assign=True)
    return unet


def take_inputs(tensors, dtype: torch.dtype) -> dict:
    """The inputs of a UNet; timesteps stay float32, as from schedulers."""
    return {
        "sample": tensors["sample"].to(dtype),
        "timestep": tensors["timestep"],
        "encoder_hidden_states": tensors["encoder_hidden_states"].to(dtype),
    }


class UNetForward:
    """A prediction in inference mode, in one element type."""

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


class TrainingStep:
    """Forward, mean squared error, backward, fused AdamW. bfloat16 uses autocast; weights and updates are float32."""

    def __init__(self, tensors, settings: dict, dtype: torch.dtype):
        self.unet = build(tensors, settings["config"], torch.float32).train()
        self.inputs = take_inputs(tensors, torch.float32)
        self.target = tensors["target"]
        self.dtype = dtype
        self.optimizer = torch.optim.AdamW(
            self.unet.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, fused=True)

    def prepare(self) -> None:
        pass

    def loss(self):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            prediction = self.unet(**self.inputs).sample
        return F.mse_loss(prediction.float(), self.target)

    def run(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        self.optimizer.step()

    def results(self) -> dict:
        first = self.loss()
        first.backward()
        results = {f"gradient.{key}": value.grad for key, value in self.unet.named_parameters()}
        self.optimizer.step()
        with torch.no_grad():
            return results | {"loss": first, "next_loss": self.loss()}


class NoiseSweep:
    """The error of the prediction for each of several layers, quantized alone: a whole forward pass per layer."""

    def __init__(self, tensors, settings: dict, dtype: torch.dtype):
        self.unet = build(tensors, settings["config"], dtype).eval()
        self.inputs = take_inputs(tensors, dtype)
        self.error_weight = tensors["error_weight"]
        names = sorted((key for key in tensors if key.startswith("weight.")), key=lambda key: int(key.split(".")[1]))
        assert len(names) == settings["layers"]
        self.quantized = {name.split(".", 2)[2]: tensors[name].to(dtype) for name in names}
        with torch.inference_mode():
            self.reference = self.unet(**self.inputs).sample
        self.sensitivities = {}

    def prepare(self) -> None:
        pass

    def run(self) -> None:
        with torch.inference_mode():
            for path, quantized in self.quantized.items():
                layer = self.unet.get_submodule(path)
                original = layer.weight.data
                layer.weight.data = quantized
                error = F.mse_loss(self.unet(**self.inputs).sample, self.reference)
                layer.weight.data = original
                self.sensitivities[path] = error * self.error_weight

    def results(self) -> dict:
        self.run()
        return {f"sensitivity.{path}": damage for path, damage in self.sensitivities.items()}


OPERATIONS = {"unet_forward": UNetForward, "training_step": TrainingStep, "noise_sweep": NoiseSweep}
