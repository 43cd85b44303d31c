# SPDX-License-Identifier: Apache-2.0
"""Lists every linear and convolution layer of Stable Diffusion v1.5's UNet: path, kind, weight shape, bias.

Writes Tests/RecipesTests/Fixtures/sd15-layers.json, which `ModelInventory` decodes. The model is built by diffusers
on torch's meta device from Configs/unet-sd15.json: no weights, no download. `otherParameters` counts what is not a
linear or convolution weight (norms and biases). Made with diffusers 0.42.1 and torch 2.15.0.

    python Tests/Fixtures/make_sd15_layers.py
"""

import json
import pathlib

import torch
from diffusers import UNet2DConditionModel

root = pathlib.Path(__file__).resolve().parents[2]
config = json.loads((root / "Configs/unet-sd15.json").read_text())
with torch.device("meta"):
    unet = UNet2DConditionModel.from_config(config)

kinds = {torch.nn.Linear: "linear", torch.nn.Conv2d: "conv2d"}
layers = [
    {"bias": module.bias is not None, "kind": kinds[type(module)], "path": path, "shape": list(module.weight.shape)}
    for path, module in sorted(unet.named_modules())
    if type(module) in kinds
]
weights = sum(module.weight.numel() for module in unet.modules() if type(module) in kinds)
other = sum(parameter.numel() for parameter in unet.parameters()) - weights

lines = ",\n".join("  " + json.dumps(layer, sort_keys=True) for layer in layers)
target = root / "Tests/RecipesTests/Fixtures/sd15-layers.json"
target.write_text(f'{{\n "layers": [\n{lines}\n ],\n "otherParameters": {other}\n}}\n')
print(f"{len(layers)} layers, {weights} weights, {other} other parameters -> {target.relative_to(root)}")
