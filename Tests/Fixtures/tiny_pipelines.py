# SPDX-License-Identifier: Apache-2.0
"""Networks of tiny Stable Diffusion pipelines, and the names that the original repositories give their tensors.

The value of each tensor follows from its name (fixture_values.py), so that tests need keys and shapes only.
"""

import re

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from fixture_values import uniform

DOWN, CROSS_DOWN = "DownBlock2D", "CrossAttnDownBlock2D"
UP, CROSS_UP = "UpBlock2D", "CrossAttnUpBlock2D"

# As in SD 1.x: projections of transformers are convolutions.
UNET_CONV = dict(
    sample_size=8, block_out_channels=[8, 16], layers_per_block=2, attention_head_dim=4, cross_attention_dim=12,
    norm_num_groups=4, down_block_types=[CROSS_DOWN, DOWN], up_block_types=[UP, CROSS_UP])
# As in SDXL: linear projections, several transformer layers, added embedding.
UNET_LINEAR = dict(
    sample_size=8, block_out_channels=[8, 8, 16], layers_per_block=1, attention_head_dim=[1, 1, 2],
    cross_attention_dim=16, norm_num_groups=4, use_linear_projection=True, transformer_layers_per_block=[1, 1, 2],
    down_block_types=[DOWN, CROSS_DOWN, CROSS_DOWN], up_block_types=[CROSS_UP, CROSS_UP, UP],
    addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=6 + 6 * 4)
VAE = dict(
    sample_size=16, block_out_channels=[4, 8], layers_per_block=2, norm_num_groups=2, latent_channels=4,
    down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2)
CLIP = dict(
    vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=6, bos_token_id=9, eos_token_id=10, pad_token_id=1)
OPEN_CLIP = CLIP | dict(hidden_act="gelu", projection_dim=6)


def load_formula(model, component):
    """Gives every parameter of `model` the values that follow from the component's name and its own."""
    with torch.no_grad():
        for key, value in model.named_parameters():
            value.copy_(torch.from_numpy(uniform(f"{component}.{text_key(model, key)}", value.shape)))
    return model.eval()


def text_key(model, key):
    """The key that checkpoints of transformers before 5.6 have: CLIPTextModel is inside of `text_model`."""
    return "text_model." + key if isinstance(model, CLIPTextModel) else key


def state(model):
    return {text_key(model, key): value for key, value in model.state_dict().items()}


def make(kind, component):
    """A model of one of the kinds above with the values of `component`."""
    model = {
        "unet_conv": lambda: UNet2DConditionModel(**UNET_CONV),
        "unet_linear": lambda: UNet2DConditionModel(**UNET_LINEAR),
        "vae": lambda: AutoencoderKL(**VAE),
        "clip": lambda: CLIPTextModel(CLIPTextConfig(**CLIP)),
        "open_clip": lambda: CLIPTextModelWithProjection(CLIPTextConfig(**OPEN_CLIP)),
    }[kind]()
    return load_formula(model, component)


def replaced(name, pairs):
    for new, old in pairs:
        name = re.sub(rf"^{re.escape(new)}(?=\.|$)", old, name)
    return name


RESNET = [
    ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"), ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection")]


def original_unet(key, config):
    """The original name of a UNet's tensor."""
    layers = config["layers_per_block"]
    match = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", key)
    if match:
        way, block, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        if way == "down":
            index = 1 + block * (layers + 1) + (layers if kind == "downsamplers" else layer)
            if kind == "downsamplers":
                return f"input_blocks.{index}.0." + rest.replace("conv", "op")
            return f"input_blocks.{index}." + ("0." + replaced(rest, RESNET) if kind == "resnets" else "1." + rest)
        index = block * (layers + 1) + (layers if kind == "upsamplers" else layer)
        if kind == "upsamplers":
            return f"output_blocks.{index}.{2 if config['up_block_types'][block] == CROSS_UP else 1}.{rest}"
        return f"output_blocks.{index}." + ("0." + replaced(rest, RESNET) if kind == "resnets" else "1." + rest)
    match = re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key)
    if match:
        if match[1] == "attentions":
            return "middle_block.1." + match[3]
        return f"middle_block.{2 * int(match[2])}." + replaced(match[3], RESNET)
    return replaced(key, [
        ("conv_in", "input_blocks.0.0"), ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"), ("add_embedding.linear_1", "label_emb.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"), ("conv_norm_out", "out.0"), ("conv_out", "out.2")])


def original_vae(key, config):
    """The original name of a VAE's tensor."""
    levels = len(config["block_out_channels"])
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    match = re.match(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.*)", key)
    if match:
        block = int(match[3]) if match[2] == "down" else levels - 1 - int(match[3])
        middle = f"block.{match[5]}" if match[4] == "resnets" else f"{match[2]}sample"
        return f"{match[1]}.{match[2]}.{block}.{middle}.{match[6]}"
    match = re.match(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d)\.(.*)", key)
    if match and match[2] == "resnets":
        return f"{match[1]}.mid.block_{int(match[3]) + 1}.{match[4]}"
    if match:
        return f"{match[1]}.mid.attn_1." + replaced(match[4], [
            ("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")])
    return key


def original_open_clip(key):
    """The original name of a text encoder's tensor, without `q_proj`, `k_proj`, `v_proj`."""
    key = replaced(key, [
        ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
        ("text_model.embeddings.token_embedding", "token_embedding"), ("text_model.final_layer_norm", "ln_final"),
        ("text_projection.weight", "text_projection")])
    match = re.match(r"text_model\.encoder\.layers\.(\d+)\.(.*)", key)
    if not match:
        return key
    return f"transformer.resblocks.{match[1]}." + replaced(match[2], [
        ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("self_attn", "attn"), ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj")])
