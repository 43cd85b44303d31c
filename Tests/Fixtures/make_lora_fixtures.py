# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/CheckpointsTests/Fixtures/lora.json: weights of tiny pipelines after diffusers merged LoRAs into them.

Run by hand:  python Tests/Fixtures/make_lora_fixtures.py      (torch 2.15.0, diffusers 0.42.1, transformers 5.24.0,
peft 0.21.2). Each case is a pipeline, the layers that its LoRA changes, and their merged weights. Matrices follow from
the layer's name (fixture_values.py). The LoRA is written in every format that diffusers reads; the script stops where
the formats give different weights.
"""

import json
import tempfile
from pathlib import Path

import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

import tiny_pipelines as tiny
from fixture_values import rounded, uniform

TARGET = Path(__file__).resolve().parent.parent / "CheckpointsTests" / "Fixtures" / "lora.json"
WEIGHT = 0.75

# component: {layer: (rank, alpha)}. The alphas of a case are equal: diffusers 0.42.1 loses alphas that differ for
# layers of former names (its alpha_pattern does not match them), and does not read feed-forward layers of text encoders
# in kohya's names.
SD1 = {
    "unet": {
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (2, 1.5),
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0": (4, 1.5),
        "up_blocks.1.attentions.0.proj_in": (2, 1.5),
        "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj": (3, 1.5),
    },
    "text_encoder": {
        "text_model.encoder.layers.0.self_attn.q_proj": (2, 1.5),
        "text_model.encoder.layers.1.self_attn.out_proj": (1, 1.5),
    },
}
# Layers that only some formats name.
CONVOLUTION = {
    "unet": {"down_blocks.0.resnets.1.conv1": (2, 1.0), "up_blocks.1.resnets.0.time_emb_proj": (4, 1.0)},
}
SDXL = {
    "unet": {
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": (2, 2.0),
        "down_blocks.2.attentions.0.transformer_blocks.1.attn2.to_v": (4, 2.0),
        "mid_block.attentions.0.proj_in": (3, 2.0),
        "up_blocks.0.attentions.1.transformer_blocks.1.ff.net.2": (1, 2.0),
    },
    "text_encoder": {"text_model.encoder.layers.0.self_attn.out_proj": (2, 2.0)},
    "text_encoder_2": {"text_model.encoder.layers.1.self_attn.out_proj": (1, 2.0)},
}
PREFIXES = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}


def matrices(component, layer, rank, shape):
    """(down, up) for a weight of `shape`."""
    down = torch.from_numpy(uniform(f"down.{component}.{layer}", [rank, *shape[1:]]))
    up = torch.from_numpy(uniform(f"up.{component}.{layer}", [shape[0], rank, *([1] * (len(shape) - 2))]))
    return down, up


def kohya(component, layer, down, up, rank, alpha, prefixes=None, original=None):
    name = (prefixes or PREFIXES)[component] + (original or layer).replace(".", "_")
    return {name + ".lora_down.weight": down, name + ".lora_up.weight": up, name + ".alpha": torch.tensor(alpha)}


def sgm(component, layer, down, up, rank, alpha):
    original = tiny.original_unet(layer, tiny.UNET_LINEAR) if component == "unet" else layer
    return kohya(component, layer, down, up, rank, alpha, PREFIXES | {"text_encoder": "lora_te1_"}, original)


def peft(component, layer, down, up, rank, alpha):
    name = f"{component}.{layer}"
    return {name + ".lora_A.weight": down, name + ".lora_B.weight": up * (alpha / rank)}


def former(component, layer, down, up, rank, alpha):
    up = up * (alpha / rank)
    if component != "unet":
        name = f"{component}.{layer}.lora_linear_layer."
    elif ".attn" in layer:
        block, part = layer.replace(".to_out.0", ".to_out").rsplit(".", 1)
        name = f"{component}.{block}.processor.{part}_lora."
    else:
        name = f"{component}.{layer}.lora."
    return {name + "down.weight": down, name + "up.weight": up}


def text_encoder():
    """The first text encoder. diffusers 0.42.1 applies LoRAs only to classes of transformers that have `text_model`."""
    return tiny.load_formula(CLIPTextModelWithProjection(CLIPTextConfig(**tiny.CLIP)), "text_encoder")


def pipeline(kind):
    if kind == "sd1":
        return StableDiffusionPipeline(
            vae=None, text_encoder=text_encoder(), tokenizer=None,
            unet=tiny.make("unet_conv", "unet"), scheduler=DDIMScheduler(), safety_checker=None, feature_extractor=None,
            requires_safety_checker=False)
    return StableDiffusionXLPipeline(
        vae=None, text_encoder=text_encoder(), text_encoder_2=tiny.make("open_clip", "text_encoder_2"), tokenizer=None,
        tokenizer_2=None, unet=tiny.make("unet_linear", "unet"), scheduler=EulerDiscreteScheduler())


def merged(kind, layers, write):
    pipe = pipeline(kind)
    # Merging changes weights in place.
    weights = {
        name: {key: value.clone() for key, value in tiny.state(getattr(pipe, name)).items()} for name in layers}
    tensors = {}
    for component, parts in layers.items():
        for layer, (rank, alpha) in parts.items():
            shape = weights[component][layer + ".weight"].shape
            tensors |= write(component, layer, *matrices(component, layer, rank, shape), rank, alpha)
    with tempfile.TemporaryDirectory() as folder:
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder + "/lora.safetensors")
        pipe.load_lora_weights(folder, weight_name="lora.safetensors")
    pipe.fuse_lora(lora_scale=WEIGHT)
    pipe.unload_lora_weights()
    states = {name: tiny.state(getattr(pipe, name)) for name in layers}
    found = {(name, layer): states[name][layer + ".weight"] for name, parts in layers.items() for layer in parts}
    for (name, layer), value in found.items():
        before = weights[name][layer + ".weight"]
        assert not torch.allclose(value, before), (name, layer)
    return found


def make(kind, layers, formats):
    results = [merged(kind, layers, write) for write in formats]
    for other in results[1:]:
        for key, value in other.items():
            assert torch.allclose(value, results[0][key], atol=2e-6, rtol=0), key
    return {
        component: {
            layer: {"rank": rank, "alpha": alpha, "weight": rounded(results[0][component, layer])}
            for layer, (rank, alpha) in parts.items()}
        for component, parts in layers.items()}


if __name__ == "__main__":
    document = {
        "sd1": make("sd1", SD1, [kohya, peft, former]), "convolution": make("sd1", CONVOLUTION, [kohya, peft]),
        "sdxl": make("sdxl", SDXL, [sgm, kohya, peft])}
    TARGET.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    print(TARGET, TARGET.stat().st_size)
