#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Load a packed model in diffusers, sample an image, and compare packed layers with dense ones.

    pip install "Sources/Python[diffusers]"
    python Docs/examples/load_packed.py packed.h5 --prompt "a red circle" -o image.png

The parts between `# %%` are the cells of a notebook. A small file to try it with: `make_random_pipeline.py --tiny`,
`bitsfusion import`, `bitsfusion quantize`.
"""

# %% Settings
import argparse
import time

import torch

import bitsfusion

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("file", help="packed file with text encoder and VAE")
parser.add_argument("--prompt", default="a photo of an astronaut riding a horse")
parser.add_argument("--steps", type=int, help="default: those that the file was packed for, else 50")
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
parser.add_argument("-o", "--output", default="image.png", metavar="FILE.png")
options = parser.parse_args()

# %% Load the pipeline. The weights of the quantized layers stay codes in memory.
start = time.perf_counter()
pipeline = bitsfusion.load_pipeline(options.file, device=options.device)
print(f"{type(pipeline).__name__}, loaded in {time.perf_counter() - start:.1f} s")

# %% Sizes in memory, and in float16 for comparison
for name in ("unet", "text_encoder", "text_encoder_2", "vae"):
    model = getattr(pipeline, name, None)
    if model is not None:
        layers = [module for module in model.modules() if isinstance(module, bitsfusion.PackedWeight)]
        weights = sum(layer.shape.numel() for layer in layers)
        print(f"{name}: {len(layers)} packed layers, {weights / 1e6:.2f} million weights, "
              f"{bitsfusion.packed_bytes(model) / 1e6:.2f} MB (float16: {2 * weights / 1e6:.2f} MB)")

# %% Sample an image. With cached time features, the steps must be those that the file was packed for.
with bitsfusion.PackedFile(options.file) as file:
    features = file.time_features()
# Samplers such as Heun have more timesteps than steps: pass --steps.
steps = options.steps or (50 if features is None else len(features[0]))
image = pipeline(options.prompt, num_inference_steps=steps, generator=torch.Generator().manual_seed(0)).images[0]
image.save(options.output)
print(f"{options.output}: {image.width}x{image.height}, {steps} steps")

# %% The same UNet with dense weights in ordinary modules gives the same noise prediction.
dense = bitsfusion.load_unet(options.file, device=options.device, dense=True)
size, channels = dense.config.sample_size, dense.config.in_channels
timestep = 1 if features is None else int(features[0][0])
sample = torch.randn(1, channels, size, size, device=options.device)
states = torch.randn(1, 77, dense.config.cross_attention_dim, device=options.device)
conditions = {}
if dense.config.addition_embed_type == "text_time":
    pooled = pipeline.text_encoder_2.config.projection_dim
    conditions = {"added_cond_kwargs": {
        "text_embeds": torch.randn(1, pooled, device=options.device), "time_ids": torch.zeros(1, 6).to(options.device)}}
predictions = {}
for name, unet in {"packed": pipeline.unet, "dense": dense}.items():
    with torch.no_grad():
        unet(sample, timestep, states, **conditions)
        start = time.perf_counter()
        predictions[name] = unet(sample, timestep, states, **conditions).sample.cpu()
    print(f"{name}: {time.perf_counter() - start:.2f} s per noise prediction")
difference = (predictions["packed"] - predictions["dense"]).abs().max()
print(f"largest difference of the noise predictions: {difference:g}")

# %% Weights by diffusers' names, for other programs
weights = bitsfusion.dequantized_state_dict(options.file, "unet")
print(f"conv_in.weight: {list(weights['conv_in.weight'].shape)}, {weights['conv_in.weight'].dtype}")
