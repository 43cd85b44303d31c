#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write Stable Diffusion 1.5 or SDXL base with random weights: the real sizes, names and configs, no download.

    scripts/make_random_pipeline.py random-sd15                       a diffusers folder, float16, 2.1 GB
    scripts/make_random_pipeline.py --single-file random.safetensors  the same weights under the names of single files
    scripts/make_random_pipeline.py random-sdxl --sdxl                SDXL base, 6.9 GB
    scripts/make_random_pipeline.py random-tiny --tiny                as SD 1.5 with few channels, 6 MB
    scripts/make_random_pipeline.py --lora lora.safetensors           a small LoRA for it, with kohya's names

Needs NumPy only. Weights have the variance 1 / fan-in, so activations stay finite and images are noise. They depend on
the seed and the name of the parameter: folder and single file contain equal values. Tensors are written in pieces.
"""

import argparse
import json
import math
import os
import pathlib
import re
import struct
import sys
import zlib

import numpy as np

import clip_vocabulary
import stable_diffusion_keys as keys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PIECE = 1 << 22
TYPES = {"float16": ("F16", 2), "bfloat16": ("BF16", 2), "float32": ("F32", 4)}

BETAS = {"beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": False,
         "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
         "trained_betas": None}
CLIP_L = {
    "architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "bos_token_id": 0, "dropout": 0.0, "eos_token_id": 2,
    "hidden_act": "quick_gelu", "hidden_size": 768, "initializer_factor": 1.0, "initializer_range": 0.02,
    "intermediate_size": 3072, "layer_norm_eps": 1e-05, "max_position_embeddings": 77, "model_type": "clip_text_model",
    "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1, "projection_dim": 768, "vocab_size": 49408}
CLIP_G = {
    **CLIP_L, "architectures": ["CLIPTextModelWithProjection"], "hidden_act": "gelu", "hidden_size": 1280,
    "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32, "projection_dim": 1280}
VAE = {
    "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "in_channels": 3, "latent_channels": 4, "layers_per_block": 2,
    "norm_num_groups": 32, "out_channels": 3, "sample_size": 512, "scaling_factor": 0.18215,
    "up_block_types": ["UpDecoderBlock2D"] * 4}
UNET = json.loads((ROOT / "Configs" / "unet-sd15.json").read_text())

SD15 = {
    "pipeline": "StableDiffusionPipeline", "unet": UNET, "vae": VAE, "text_encoder": CLIP_L,
    "index": {"feature_extractor": [None, None], "requires_safety_checker": False, "safety_checker": [None, None]},
    "scheduler": {"_class_name": "PNDMScheduler", **BETAS}}
SDXL = {
    "pipeline": "StableDiffusionXLPipeline",
    "unet": {**UNET, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
             "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
             "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
             "projection_class_embeddings_input_dim": 2816, "sample_size": 128,
             "transformer_layers_per_block": [1, 2, 10],
             "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
             "use_linear_projection": True},
    "vae": {**VAE, "force_upcast": True, "sample_size": 1024, "scaling_factor": 0.13025},
    "text_encoder": CLIP_L, "text_encoder_2": CLIP_G, "index": {"force_zeros_for_empty_prompt": True},
    "scheduler": {"_class_name": "EulerDiscreteScheduler", **BETAS, "interpolation_type": "linear",
                  "prediction_type": "epsilon", "sample_max_value": 1.0, "timestep_spacing": "leading",
                  "use_karras_sigmas": False}}
# Two levels; the vocabulary is CLIP's.
TINY = {
    **SD15,
    "unet": {**UNET, "attention_head_dim": 2, "block_out_channels": [16, 32], "cross_attention_dim": 32,
             "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "layers_per_block": 1, "norm_num_groups": 8,
             "sample_size": 8, "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]},
    "vae": {**VAE, "block_out_channels": [32] * 4, "layers_per_block": 1, "sample_size": 64},
    "text_encoder": {**CLIP_L, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2,
                     "num_hidden_layers": 2, "projection_dim": 32}}
SHAPES = {"unet": keys.unet, "vae": keys.vae, "text_encoder": keys.text_encoder, "text_encoder_2": keys.text_encoder}

# The decoder's last layer, so that few pixels are black or white; the mean and logarithmic variance of latents.
FACTORS = {"vae.decoder.conv_out.weight": 0.36, "vae.encoder.conv_out.weight": 0.5}


def values(seed, name, shape):
    """The values of a parameter in float32, in pieces."""
    generator = np.random.Generator(np.random.SFC64([seed, zlib.crc32(name.encode())]))
    mean, deviation = 0, 1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.05
    if len(shape) == 1 and name.endswith(".weight"):
        mean = 1
    deviation *= 0.25 if name.endswith(".lora_up.weight") else FACTORS.get(name, 1)
    count = math.prod(shape)
    for start in range(0, count, PIECE):
        piece = generator.standard_normal(min(PIECE, count - start), dtype=np.float32)
        piece *= np.float32(deviation)
        piece += np.float32(mean)
        yield piece


def stored(piece, dtype):
    """The bytes of float32 values in an element type."""
    if dtype == "bfloat16":
        bits = piece.view(np.uint32)
        return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return piece.astype(dtype)


def write_safetensors(path, tensors, metadata):
    """Writes `tensors`, key: (type, item size, shape, function that gives arrays one after the other)."""
    header, offset = {"__metadata__": metadata}, 0
    for key, (kind, size, shape, _) in tensors.items():
        end = offset + size * math.prod(shape)
        header[key] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, _, pieces in tensors.values():
            for piece in pieces():
                file.write(np.ascontiguousarray(piece).data)
        assert file.tell() == 8 + len(text) + offset, path
    os.replace(partial, path)
    print(f"{path}: {len(tensors)} tensors, {path.stat().st_size / 1e9:.2f} GB")


def pieces_of(options, component, parts, shapes, transposed):
    """A function that gives the stored values of one or several joined parameters."""
    def pieces():
        for part in parts:
            whole = values(options.seed, f"{component}.{part}", shapes[part])
            if transposed:
                whole = [np.concatenate(list(whole)).reshape(shapes[part]).T.copy()]
            for piece in whole:
                yield stored(piece, options.dtype)
    return pieces


def write_folder(options, model, folder):
    index = {"_class_name": model["pipeline"], "_diffusers_version": "0.42.1", **model["index"],
             "scheduler": ["diffusers", model["scheduler"]["_class_name"]]}
    for component, make_shapes in SHAPES.items():
        if component not in model:
            continue
        config = model[component]
        is_text = component.startswith("text_encoder")
        shapes = make_shapes(config)
        kind, size = TYPES[options.dtype]
        write_safetensors(
            folder / component / ("model.safetensors" if is_text else "diffusion_pytorch_model.safetensors"),
            {key: (kind, size, shape, pieces_of(options, component, [key], shapes, False))
             for key, shape in shapes.items()}, {"format": "pt"})
        write_json(folder / component / "config.json", config | ({"torch_dtype": options.dtype} if is_text else {}))
        index[component] = ["transformers", config["architectures"][0]] if is_text else [
            "diffusers", config["_class_name"]]
        if is_text:
            tokenizer = component.replace("text_encoder", "tokenizer")
            # The second tokenizer of SDXL pads with "!".
            pad = "!" if component.endswith("_2") else clip_vocabulary.END
            files = clip_vocabulary.files(clip_vocabulary.read_merges(options.merges), pad)
            for name, text in files.items():
                write_text(folder / tokenizer / name, text)
            index[tokenizer] = ["transformers", "CLIPTokenizer"]
    write_json(folder / "scheduler" / "scheduler_config.json", model["scheduler"])
    write_json(folder / "model_index.json", dict(sorted(index.items())))


def write_single_file(options, model, path):
    kind, size = TYPES[options.dtype]
    is_xl = model is SDXL
    tensors = {}
    for component, make_shapes in SHAPES.items():
        if component in model:
            shapes = make_shapes(model[component])
            for key, (shape, parts, transposed) in keys.ldm_tensors(
                    component, shapes, model[component], is_xl).items():
                tensors[key] = (kind, size, shape, pieces_of(options, component, parts, shapes, transposed))
    # What training programs leave in these files, and readers must ignore.
    embedder = "conditioner.embedders.0." if is_xl else "cond_stage_model."
    positions = np.arange(77, dtype=np.int64)[None]
    tensors[f"{embedder}transformer.text_model.embeddings.position_ids"] = (
        "I64", 8, positions.shape, lambda: [positions])
    betas = np.linspace(0.00085 ** 0.5, 0.012 ** 0.5, 1000) ** 2
    for key, schedule in {"betas": betas, "alphas_cumprod": np.cumprod(1 - betas)}.items():
        tensors[key] = ("F32", 4, (1000,), lambda schedule=schedule: [schedule.astype(np.float32)])
    # Eight-byte values first, so that all of them are aligned.
    tensors = dict(sorted(tensors.items(), key=lambda entry: -entry[1][1]))
    write_safetensors(path, tensors, {"format": "pt"})


LORA_LAYERS = re.compile(
    r"attn[12]\.to_(q|k|v|out\.0)$|ff\.net\.(0\.proj|2)$|proj_(in|out)$|self_attn\.(q|k|v|out)_proj$|mlp\.fc[12]$")


def write_lora(options, model, path):
    """Attention and feed-forward layers of UNet and text encoders; kohya's names for SDXL are those of single files."""
    is_xl, rank = model is SDXL, options.lora_rank
    kind, size = TYPES[options.dtype]
    tensors = {}
    for component, make_shapes in SHAPES.items():
        if component == "vae" or component not in model:
            continue
        for key, shape in make_shapes(model[component]).items():
            layer = key.removesuffix(".weight")
            if not key.endswith(".weight") or not LORA_LAYERS.search(layer):
                continue
            if component == "unet":
                prefix = "lora_unet"
                layer = keys.ldm_unet_key(layer, model["unet"]) if is_xl else layer
            else:
                prefix = ("lora_te2" if component.endswith("_2") else "lora_te1") if is_xl else "lora_te"
            name = f"{prefix}_{layer.replace('.', '_')}"
            tail = shape[2:]
            factors = {
                f"{name}.lora_down.weight": (rank, *shape[1:]), f"{name}.lora_up.weight": (shape[0], rank, *tail)}
            for tensor, factor in factors.items():
                tensors[tensor] = (kind, size, factor, pieces_of(options, "lora", [tensor], factors, False))
            tensors[f"{name}.alpha"] = (kind, size, (), lambda: [stored(np.float32([rank / 2]), options.dtype)])
    write_safetensors(path, tensors, {
        "ss_network_module": "networks.lora", "ss_network_dim": str(rank), "ss_network_alpha": str(rank / 2)})


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_json(path, value):
    write_text(path, json.dumps(value, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, help="the diffusers folder to write")
    parser.add_argument("--single-file", type=pathlib.Path, metavar="FILE", help="write a single-file checkpoint")
    parser.add_argument("--lora", type=pathlib.Path, metavar="FILE", help="write a LoRA")
    parser.add_argument("--lora-rank", type=int, default=4, metavar="N", help="default: 4; alpha is half of it")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--sdxl", action="store_true", help="SDXL base instead of Stable Diffusion 1.5")
    size.add_argument("--tiny", action="store_true", help="a few channels instead of Stable Diffusion 1.5")
    parser.add_argument("--dtype", choices=TYPES, default="float16", help="element type, default: float16")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--merges", type=pathlib.Path, default=clip_vocabulary.MERGES, metavar="FILE",
                        help="merges of CLIP's vocabulary: merges.txt, bpe_simple_vocab_16e6.txt.gz or the default, "
                        "the file of this repository")
    options = parser.parse_args()
    if not (options.folder or options.single_file or options.lora):
        parser.error("expected FOLDER, --single-file or --lora")
    if options.seed < 0 or options.lora_rank < 1:
        parser.error("expected a seed of at least 0 and a rank of at least 1")
    if options.folder and not options.merges.is_file():
        parser.error(f"{options.merges}: no such file; name a file of CLIP's merges with --merges")
    model = SDXL if options.sdxl else TINY if options.tiny else SD15
    if options.folder:
        write_folder(options, model, options.folder)
    if options.single_file:
        write_single_file(options, model, options.single_file)
    if options.lora:
        write_lora(options, model, options.lora)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"make_random_pipeline.py: {error}")
