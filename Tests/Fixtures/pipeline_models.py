# SPDX-License-Identifier: Apache-2.0
"""Tiny Stable Diffusion pipelines of all kinds, written as diffusers' folders with float16 weights.

Weights come from fixture_values.py and do not depend on a random generator. A file that another pipeline has too is
written once; the others are symbolic links to it, as in the Hub's cache.
"""

import collections
import hashlib
import json
import os
import pathlib
import re
import sys

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.numpy import save
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from fixture_values import parameter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

import clip_vocabulary  # noqa: E402
from clip_vocabulary import END  # noqa: E402

# The text whose most frequent pairs become the merges of the vocabulary.
CORPUS = """a photo of an astronaut riding a horse on the moon a painting of a red cat and a blue dog in the garden
the green house at the river in the morning light make it look like winter turn the sky to orange with clouds
a large ship over the sea a small bird in an old tree blurry low quality watermark"""
MERGES = 120

SD = {"beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000}
SCHEDULERS = {
    "pndm": {"_class_name": "PNDMScheduler", **SD, "clip_sample": False, "set_alpha_to_one": False,
             "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None},
    "ddim-v": {"_class_name": "DDIMScheduler", **SD, "clip_sample": False, "prediction_type": "v_prediction",
               "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None},
    "euler": {"_class_name": "EulerDiscreteScheduler", **SD, "clip_sample": False, "interpolation_type": "linear",
              "prediction_type": "epsilon", "sample_max_value": 1.0, "set_alpha_to_one": False,
              "skip_prk_steps": True, "steps_offset": 1, "timestep_spacing": "leading", "trained_betas": None,
              "use_karras_sigmas": False},
    "euler-ancestral": {"_class_name": "EulerAncestralDiscreteScheduler", **SD, "clip_sample": False,
                        "prediction_type": "epsilon", "set_alpha_to_one": False, "skip_prk_steps": True,
                        "steps_offset": 1, "trained_betas": None}}

UNET = {
    "_class_name": "UNet2DConditionModel", "act_fn": "silu", "attention_head_dim": 2, "block_out_channels": [8, 16],
    "center_input_sample": False, "cross_attention_dim": 32,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "downsample_padding": 1, "flip_sin_to_cos": True,
    "freq_shift": 0, "in_channels": 4, "layers_per_block": 1, "mid_block_scale_factor": 1, "norm_eps": 1e-05,
    "norm_num_groups": 8, "out_channels": 4, "sample_size": 8, "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]}
# `attention_head_dim` is the number of heads, as in the real configs.
SD2 = {**UNET, "attention_head_dim": [1, 2], "dual_cross_attention": False, "only_cross_attention": False,
       "use_linear_projection": True}
UNETS = {
    "sd1": {**UNET, "layers_per_block": 2},
    "inpaint": {**UNET, "in_channels": 9},
    "pix2pix": {**UNET, "in_channels": 8},
    "sd2": SD2,
    "sd2-v": {**SD2, "upcast_attention": True},
    "sdxl": {**SD2, "addition_embed_type": "text_time", "addition_time_embed_dim": 8, "cross_attention_dim": 64,
             "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
             "projection_class_embeddings_input_dim": 80, "transformer_layers_per_block": [1, 2],
             "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]}}

# Without `scaling_factor`, as in old repositories: the default is 0.18215.
VAE = {
    "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [8, 8, 8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "in_channels": 3, "latent_channels": 4, "layers_per_block": 1,
    "norm_num_groups": 2, "out_channels": 3, "sample_size": 64, "up_block_types": ["UpDecoderBlock2D"] * 4}
VAES = {
    "old": VAE, "new": {**VAE, "scaling_factor": 0.18215},
    "sdxl": {**VAE, "force_upcast": True, "scaling_factor": 0.13025}}

TEXT = {
    "attention_dropout": 0.0, "dropout": 0.0, "hidden_size": 32, "initializer_factor": 1.0, "initializer_range": 0.02,
    "intermediate_size": 64, "layer_norm_eps": 1e-05, "max_position_embeddings": 77, "model_type": "clip_text_model",
    "num_attention_heads": 2, "num_hidden_layers": 3, "pad_token_id": 1, "vocab_size": 256 * 2 + MERGES + 2,
    "bos_token_id": 0, "eos_token_id": 2}
TEXT_ENCODERS = {
    "small": {"architectures": ["CLIPTextModel"], **TEXT, "hidden_act": "quick_gelu", "projection_dim": 32},
    # The projection is unused in Stable Diffusion 2.
    "large": {"architectures": ["CLIPTextModel"], **TEXT, "hidden_act": "gelu", "num_attention_heads": 4,
              "projection_dim": 24},
    "projection": {"architectures": ["CLIPTextModelWithProjection"], **TEXT, "hidden_act": "gelu",
                   "num_attention_heads": 4, "projection_dim": 32}}

Kind = collections.namedtuple("Kind", "pipeline unet vae text_encoder text_encoder_2 pads scheduler")
KINDS = {
    "sd1": Kind("StableDiffusionPipeline", "sd1", "old", "small", None, [END], "pndm"),
    "sd2": Kind("StableDiffusionPipeline", "sd2", "new", "large", None, ["!"], "pndm"),
    "sd2-v": Kind("StableDiffusionPipeline", "sd2-v", "new", "large", None, ["!"], "ddim-v"),
    "sdxl": Kind("StableDiffusionXLPipeline", "sdxl", "sdxl", "small", "projection", [END, "!"], "euler"),
    "inpaint": Kind("StableDiffusionInpaintPipeline", "inpaint", "old", "small", None, [END], "pndm"),
    "pix2pix": Kind("StableDiffusionInstructPix2PixPipeline", "pix2pix", "old", "small", None, [END],
                    "euler-ancestral")}

# Factors of weights whose keys match, so that images depend on the prompt, and few pixels are black or white.
FACTORS = {
    r"^sd2\.conv_out\.weight": 2,
    r"^sdxl.*attn2\.to_[qk]": 0.5, r"^sdxl.*attn2\.to_v": 1,
    r"attn2\.to_[qkv]": 2, r"attn2\.to_out": 1.5, r"decoder\.conv_out\.weight": 0.36, r"quant_conv": 1.4,
    r"encoder\.conv_out\.weight": 0.5, r"text_model.*self_attn": 1.5}


def values(prefix, key, shape):
    name = f"{prefix}.{key}"
    factor = next((factor for pattern, factor in FACTORS.items() if re.search(pattern, name)), 1)
    return (parameter(name, shape) * np.float32(factor)).astype(np.float16)


def learn_merges():
    """The most frequent pair of symbols, joined, and so on; of equally frequent pairs, the first in the alphabet."""
    words = collections.Counter((*word[:-1], word[-1] + "</w>") for word in CORPUS.split())
    merges = []
    for _ in range(MERGES):
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        merged = collections.Counter()
        for word, count in words.items():
            merged[tuple(re.sub(re.escape("\n".join(best)) + r"(?=\n|$)", "".join(best).replace("\\", r"\\"),
                                "\n".join(word)).split("\n"))] += count
        words = merged
    return merges


class FolderWriter:
    """Writes files below `root`; a second file with the bytes of the first one becomes a link to it."""

    def __init__(self, root):
        self.root = root
        self.written = {}

    def write(self, name, data):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        first = self.written.setdefault(hashlib.sha256(data).digest(), path)
        if first == path or len(data) < 1024:
            path.write_bytes(data)
        else:
            path.symlink_to(os.path.relpath(first, path.parent))

    def json(self, name, value):
        self.write(name, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def tokenizer(writer, folder, pad):
    for name, text in clip_vocabulary.files(learn_merges(), pad).items():
        writer.write(f"{folder}/{name}", text.encode())


def shapes(module_class, config):
    with torch.device("meta"):
        module = module_class(config) if isinstance(config, CLIPTextConfig) else module_class.from_config(config)
    return {key: tuple(value.shape) for key, value in module.named_parameters()}


def text_encoder(writer, folder, name):
    config = TEXT_ENCODERS[name]
    is_projected = config["architectures"] == ["CLIPTextModelWithProjection"]
    keys = shapes(CLIPTextModelWithProjection if is_projected else CLIPTextModel, CLIPTextConfig(**config))
    tensors = {}
    for key, shape in keys.items():
        # Checkpoints of both classes have the prefix.
        key = key if key.startswith(("text_model.", "text_projection.")) else "text_model." + key
        tensors[key] = values("small" if name == "small" else "large", key, shape)
    if name == "small":
        # In files of older versions of transformers.
        tensors["text_model.embeddings.position_ids"] = np.arange(77, dtype=np.int64)[None]
    writer.json(f"{folder}/config.json", config)
    writer.write(f"{folder}/model.safetensors", save(tensors, metadata={"format": "pt"}))


def unet(writer, folder, name):
    config = UNETS[name]
    tensors = {key: values("sd2" if name == "sd2-v" else name, key, shape)
               for key, shape in shapes(UNet2DConditionModel, config).items()}
    writer.json(f"{folder}/config.json", config)
    writer.write(f"{folder}/diffusion_pytorch_model.safetensors", save(tensors, metadata={"format": "pt"}))


# Keys of the attention layers in the VAEs of old repositories.
OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def vae(writer, folder, name):
    tensors = {}
    for key, shape in shapes(AutoencoderKL, VAES[name]).items():
        value = values("vae", key, shape)
        if name == "old" and ".attentions." in key:
            for new, old in OLD_ATTENTION.items():
                key = key.replace(f".{new}.", f".{old}.")
        tensors[key] = value
    writer.json(f"{folder}/config.json", VAES[name])
    writer.write(f"{folder}/diffusion_pytorch_model.safetensors", save(tensors, metadata={"format": "pt"}))


def pipeline(writer, folder, kind):
    text_encoders = [("", kind.text_encoder), ("_2", kind.text_encoder_2)][:len(kind.pads)]
    index = {"_class_name": kind.pipeline, "_diffusers_version": "0.42.1"}
    if kind.text_encoder_2:
        index["force_zeros_for_empty_prompt"] = True
    else:
        index |= {"feature_extractor": [None, None], "requires_safety_checker": False, "safety_checker": [None, None]}
    index |= {"scheduler": ["diffusers", SCHEDULERS[kind.scheduler]["_class_name"]],
              "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    for (suffix, name), pad in zip(text_encoders, kind.pads):
        index[f"text_encoder{suffix}"] = ["transformers", TEXT_ENCODERS[name]["architectures"][0]]
        index[f"tokenizer{suffix}"] = ["transformers", "CLIPTokenizer"]
        tokenizer(writer, f"{folder}/tokenizer{suffix}", pad)
        text_encoder(writer, f"{folder}/text_encoder{suffix}", name)
    unet(writer, f"{folder}/unet", kind.unet)
    vae(writer, f"{folder}/vae", kind.vae)
    writer.json(f"{folder}/scheduler/scheduler_config.json", SCHEDULERS[kind.scheduler])
    writer.json(f"{folder}/model_index.json", dict(sorted(index.items())))


def write_all(root: pathlib.Path):
    """Writes a folder per kind below `root`."""
    writer = FolderWriter(root)
    for name, kind in KINDS.items():
        pipeline(writer, name, kind)
