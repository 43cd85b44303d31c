# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/NetworksTests/Fixtures/unet-*.json and text-encoder-*.json: outputs and gradients of tiny models.

Run by hand:  python Tests/Fixtures/make_unet_fixtures.py      (torch 2.15.0, diffusers 0.42.1, numpy)

Weights, inputs and the loss's gradient come from fixture_values.py, so a fixture holds a config, the output and a
summary of every parameter's gradient. unet-keys.json lists what published architectures are made of.
"""

import json
import pathlib

import numpy as np
import torch
from diffusers import UNet2DConditionModel

from fixture_values import fnv1a, gradient_summary, parameter, rounded, unit

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "NetworksTests" / "Fixtures"
torch.set_num_threads(1)

DOWN, CROSS_DOWN = "DownBlock2D", "CrossAttnDownBlock2D"
UP, CROSS_UP = "UpBlock2D", "CrossAttnUpBlock2D"

# name: (config, sample height and width, timesteps, context tokens and width)
UNETS = {
    "sd1": (
        dict(
            sample_size=8, block_out_channels=[8, 16, 16, 16], layers_per_block=2, attention_head_dim=4,
            cross_attention_dim=12, norm_num_groups=4,
            down_block_types=[CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, DOWN],
            up_block_types=[UP, CROSS_UP, CROSS_UP, CROSS_UP], mid_block_type="UNetMidBlock2DCrossAttn",
            act_fn="silu", center_input_sample=False, downsample_padding=1, flip_sin_to_cos=True, freq_shift=0,
            mid_block_scale_factor=1, norm_eps=1e-5, in_channels=4, out_channels=4,
        ), (8, 8), [981.0, 13.0], (5, 12)),
    "sd2": (
        dict(
            sample_size=8, block_out_channels=[8, 16, 24], layers_per_block=1, attention_head_dim=[2, 4, 3],
            cross_attention_dim=10, norm_num_groups=4, use_linear_projection=True, upcast_attention=True,
            dual_cross_attention=False, only_cross_attention=False, num_class_embeds=None,
            down_block_types=[CROSS_DOWN, CROSS_DOWN, DOWN], up_block_types=[UP, CROSS_UP, CROSS_UP],
        ), (8, 8), [500.0], (7, 10)),
    "sdxl": (
        dict(
            sample_size=8, block_out_channels=[8, 8, 16], layers_per_block=2, attention_head_dim=[1, 2, 4],
            cross_attention_dim=12, norm_num_groups=4, use_linear_projection=True,
            transformer_layers_per_block=[1, 2, 3], addition_embed_type="text_time", addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=34, num_attention_heads=None, time_cond_proj_dim=None,
            down_block_types=[DOWN, CROSS_DOWN, CROSS_DOWN], up_block_types=[CROSS_UP, CROSS_UP, UP],
        ), (8, 8), [999.0, 0.0], (5, 12)),
    "odd-size": (
        dict(
            sample_size=[7, 11], block_out_channels=[8, 8, 16], layers_per_block=1, attention_head_dim=2,
            cross_attention_dim=6, norm_num_groups=2, down_block_types=[CROSS_DOWN, CROSS_DOWN, DOWN],
            up_block_types=[UP, CROSS_UP, CROSS_UP],
        ), (7, 11), [250.0, 251.0], (3, 6)),
    "pixels": (
        dict(
            sample_size=12, in_channels=3, out_channels=3, block_out_channels=[8, 16, 24], layers_per_block=1,
            attention_head_dim=2, cross_attention_dim=16, norm_num_groups=4,
            down_block_types=[DOWN, CROSS_DOWN, CROSS_DOWN], up_block_types=[CROSS_UP, CROSS_UP, UP],
        ), (12, 12), [7.0], (4, 16)),
    "unconditional": (
        dict(
            sample_size=None, in_channels=5, out_channels=6, block_out_channels=[9, 12, 6], layers_per_block=2,
            norm_num_groups=3, down_block_types=[DOWN, DOWN, DOWN], up_block_types=[UP, UP, UP],
            mid_block_type="UNetMidBlock2D", resnet_time_scale_shift="scale_shift", downsample_padding=0,
            act_fn="gelu", flip_sin_to_cos=False, freq_shift=1, center_input_sample=True,
            mid_block_scale_factor=1.4142, time_embedding_dim=20, time_embedding_act_fn="mish",
            timestep_post_act="silu", conv_in_kernel=5, conv_out_kernel=1, norm_eps=1e-6,
        ), (6, 10), [3.0, 700.0], None),
    "asymmetric": (
        dict(
            sample_size=8, block_out_channels=[10, 15], layers_per_block=[1, 2], attention_head_dim=[3, 4],
            cross_attention_dim=[6, 6], norm_num_groups=5, transformer_layers_per_block=[[1], [2, 1]],
            reverse_transformer_layers_per_block=[[1, 2, 1], [1, 2]], only_cross_attention=[True, False],
            down_block_types=[CROSS_DOWN, "UNetResCrossAttnDownBlock2D"], up_block_types=[CROSS_UP, UP],
            act_fn="Swish", resnet_time_scale_shift="scale_shift",
        ), (8, 6), [42.0], (4, 6)),
    "projected-context": (
        dict(
            block_out_channels=[8], layers_per_block=1, attention_head_dim=2, cross_attention_dim=6,
            norm_num_groups=4, encoder_hid_dim=9, encoder_hid_dim_type="text_proj", mid_block_type=None,
            act_fn="relu", down_block_types=[CROSS_DOWN], up_block_types=[UP],
        ), (5, 4), [77.0], (3, 9)),
}

PUBLISHED = {
    "stable-diffusion-1.5": dict(cross_attention_dim=768, attention_head_dim=8),
    "stable-diffusion-2.1": dict(
        cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20], use_linear_projection=True),
    "stable-diffusion-xl": dict(
        block_out_channels=[320, 640, 1280], cross_attention_dim=2048, attention_head_dim=[5, 10, 20],
        use_linear_projection=True, transformer_layers_per_block=[1, 2, 10], addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        down_block_types=[DOWN, CROSS_DOWN, CROSS_DOWN], up_block_types=[CROSS_UP, CROSS_UP, UP]),
}


def load_formula(model):
    with torch.no_grad():
        for key, value in model.named_parameters():
            value.copy_(torch.from_numpy(parameter(key, value.shape)))


def write(name, fixture):
    path = FIXTURES / f"{name}.json"
    path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
    print(path.name, path.stat().st_size)


def gradients(named, output):
    output.backward(torch.from_numpy(unit("loss", output.shape)))
    return {key: gradient_summary(key, value.grad.numpy()) for key, value in named}


def make_unet(name, config, size, timesteps, context):
    model = UNet2DConditionModel(**config)
    load_formula(model)
    batch = len(timesteps)
    inputs = {"encoder_hidden_states": None}
    if context:
        inputs["encoder_hidden_states"] = torch.from_numpy(unit("context", (batch, *context)))
    if config.get("addition_embed_type"):
        width = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        time_ids = torch.tensor([[512.0, 768, 0, 16, 1024, 1024]] * batch)
        inputs["added_cond_kwargs"] = {
            "text_embeds": torch.from_numpy(unit("text", (batch, width))), "time_ids": time_ids}
    sample = torch.from_numpy(unit("sample", (batch, model.config.in_channels, *size)))
    output = model(sample, torch.tensor(timesteps), **inputs).sample
    write(f"unet-{name}", {
        "config": config, "sampleShape": list(sample.shape), "timesteps": timesteps, "context": context,
        "outputShape": list(output.shape), "output": rounded(output.detach()),
        "gradients": gradients(model.named_parameters(), output),
    })


def make_published():
    fixture = {}
    for name, config in PUBLISHED.items():
        with torch.device("meta"):
            model = UNet2DConditionModel(**config)
        lines = sorted(f"{key} {list(value.shape)}" for key, value in model.named_parameters())
        fixture[name] = {
            "config": config, "parameters": len(lines),
            "elements": sum(value.numel() for value in model.parameters()),
            "fnv1a": f"{fnv1a(chr(10).join(lines)):016x}", "some": lines[::29]}
    write("unet-keys", fixture)


def make_text_encoder(name, config):
    """CLIP's text model, with or without its mask, in plain torch."""
    width, heads, length, batch = config["width"], config["heads"], 6, 2
    values = {}

    def p(key, *shape):
        values[key] = torch.from_numpy(parameter(key, shape)).requires_grad_()
        return values[key]

    def linear(x, key, inputs, outputs):
        return torch.nn.functional.linear(x, p(f"{key}.weight", outputs, inputs), p(f"{key}.bias", outputs))

    def norm(x, key):
        return torch.nn.functional.layer_norm(x, (width,), p(f"{key}.weight", width), p(f"{key}.bias", width))

    def split(x):
        return x.view(batch, length, heads, width // heads).transpose(1, 2)

    ids = torch.tensor([[1, 5, 2, 2, 9, 0], [3, 3, 8, 1, 0, 0]])
    root = "text_model.embeddings."
    hidden = p(root + "token_embedding.weight", config["vocab_size"], width)[ids]
    hidden = hidden + p(root + "position_embedding.weight", config["max_length"], width)[:length]
    for index in range(config["layers"]):
        layer = f"text_model.encoder.layers.{index}"
        x = norm(hidden, layer + ".layer_norm1")
        q, k, v = (split(linear(x, f"{layer}.self_attn.{n}_proj", width, width)) for n in "qkv")
        x = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=config.get("causal", False))
        x = x.transpose(1, 2).reshape(batch, length, width)
        hidden = hidden + linear(x, layer + ".self_attn.out_proj", width, width)
        x = linear(norm(hidden, layer + ".layer_norm2"), layer + ".mlp.fc1", width, 4 * width)
        quick = config.get("activation") == "quick_gelu"
        x = x * torch.sigmoid(1.702 * x) if quick else torch.nn.functional.gelu(x)
        hidden = hidden + linear(x, layer + ".mlp.fc2", 4 * width, width)
    output = norm(hidden, "text_model.final_layer_norm")
    write(f"text-encoder-{name}", {
        "config": config, "ids": ids.flatten().tolist(), "batch": batch, "outputShape": list(output.shape),
        "output": rounded(output.detach()), "gradients": gradients(values.items(), output)})


for unet, (config, size, timesteps, context) in UNETS.items():
    make_unet(unet, config, size, timesteps, context)
make_published()
make_text_encoder("shapes", dict(vocab_size=12, max_length=8, width=16, layers=2, heads=4, causal=False))
make_text_encoder(
    "clip", dict(vocab_size=10, max_length=6, width=12, layers=1, heads=2, causal=True, activation="quick_gelu"))
