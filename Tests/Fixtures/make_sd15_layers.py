# SPDX-License-Identifier: Apache-2.0
"""List all linear and convolution layers of Stable Diffusion v1.5's UNet: path, kind, weight shape, bias, role, group.

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



def role(path):
    """As `UNetLayerPolicy.role(ofLayer:)`, for the layers of this model."""
    if path.startswith("time_embedding."):
        return "timeEmbedding"
    if path.endswith(".time_emb_proj"):
        return "timeProjection"
    return "firstOrLast" if path in ("conv_in", "conv_out") else "searched"


def group(path):
    """As `UNetLayerPolicy.group(ofLayer:)`, for the layers of this model."""
    parts = path.split(".")
    last = parts[-1]
    if "attn1" in parts:
        return "selfAttention"
    if "attn2" in parts:
        cross = {"to_q": "crossAttentionQuery", "to_k": "crossAttentionKeyValue", "to_v": "crossAttentionKeyValue"}
        return cross.get(last, "crossAttentionOut")
    if "ff" in parts:
        return "feedForward"
    names = {
        "conv1": "residualConvolution", "conv2": "residualConvolution", "conv_shortcut": "shortcut",
        "proj_in": "projection", "proj_out": "projection", "conv_in": "firstOrLast", "conv_out": "firstOrLast",
    }
    return names.get(last, "resampling" if "samplers" in path else "other")


kinds = {torch.nn.Linear: "linear", torch.nn.Conv2d: "conv2d"}
layers = [
    {"bias": module.bias is not None, "group": group(path), "kind": kinds[type(module)], "path": path,
     "role": role(path), "shape": list(module.weight.shape)}
    for path, module in sorted(unet.named_modules())
    if type(module) in kinds
]
weights = sum(module.weight.numel() for module in unet.modules() if type(module) in kinds)
other = sum(parameter.numel() for parameter in unet.parameters()) - weights

lines = ",\n".join("  " + json.dumps(layer, sort_keys=True) for layer in layers)
target = root / "Tests/RecipesTests/Fixtures/sd15-layers.json"
target.write_text(f'{{\n "cachesTimeFeatures": true,\n "layers": [\n{lines}\n ],\n "otherParameters": {other}\n}}\n')
print(f"{len(layers)} layers, {weights} weights, {other} other parameters -> {target.relative_to(root)}")
