# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/NetworksTests/Fixtures/unet-*.json: outputs and gradients of tiny UNets.

Run by hand:  python Tests/Fixtures/make_unet_fixtures.py      (torch 2.15.0, diffusers 0.42.1, numpy)

Weights, inputs and the loss's gradient come from fixture_values.py, so a fixture holds a config, the output and a
summary of every parameter's gradient. unet-keys.json lists what published architectures are made of.
"""

import torch
from diffusers import UNet2DConditionModel

from fixture_values import fnv1a, rounded, unit
from torch_fixtures import gradient_summaries, load_formula, write

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
    output.backward(torch.from_numpy(unit("loss", output.shape)))
    write(f"unet-{name}", {
        "config": config, "sampleShape": list(sample.shape), "timesteps": timesteps, "context": context,
        "outputShape": list(output.shape), "output": rounded(output.detach()),
        "gradients": gradient_summaries(model),
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


for unet, (config, size, timesteps, context) in UNETS.items():
    make_unet(unet, config, size, timesteps, context)
make_published()
