# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/NetworksTests/Fixtures/autoencoder-*.json: outputs and gradients of tiny variational autoencoders, and
the keys and shapes of Stable Diffusion's.

Run by hand:  python Tests/Fixtures/make_autoencoder_fixtures.py      (torch 2.15.0, diffusers 0.42.1, numpy)

Weights and inputs come from fixture_values.py. The loss is the sum of the products of mean and image with a tensor
each.
"""

import torch
from diffusers import AutoencoderKL

from fixture_values import rounded, unit
from torch_fixtures import gradient_summaries, load_formula, write


def blocks(*channels):
    return dict(
        block_out_channels=list(channels), down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels))


# Like Stable Diffusion 1, with fewer channels.
SMALL = dict(**blocks(8, 12, 16), layers_per_block=2, latent_channels=4, norm_num_groups=4, act_fn="silu")

# name: (config, shape of the images, shape of the latents)
PARITY = {
    # Sizes that are halved with rounding.
    "sd": (dict(SMALL, _class_name="AutoencoderKL", sample_size=32), [2, 3, 18, 14], [2, 4, 4, 3]),
    "four-blocks": (
        dict(**blocks(4, 8, 8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64,
             scaling_factor=0.13025, force_upcast=True),
        [1, 3, 24, 16], [1, 4, 3, 2]),
    # Other channels of image and latents, another activation, no attention, no convolutions around the latents.
    "plain": (
        dict(**blocks(6, 9), in_channels=4, out_channels=2, layers_per_block=1, latent_channels=3, norm_num_groups=3,
             act_fn="relu", mid_block_add_attention=False, use_quant_conv=False, use_post_quant_conv=False),
        [1, 4, 8, 10], [1, 3, 4, 5]),
    # Like Stable Diffusion 3.
    "shift": (
        dict(**blocks(8, 16), layers_per_block=1, latent_channels=6, norm_num_groups=8, shift_factor=0.0609,
             scaling_factor=1.5305, use_quant_conv=False, use_post_quant_conv=False, latents_mean=None,
             latents_std=None),
        [2, 3, 8, 8], [2, 6, 4, 4]),
}


def model_of(config):
    model = AutoencoderKL.from_config(config).eval()
    load_formula(model)
    return model


def stored(tensor):
    return {"shape": list(tensor.shape), "values": rounded(tensor.detach())}


def tensor(name, shape):
    return torch.from_numpy(unit(name, shape))


def make_parity(name, config, image_shape, latents_shape):
    model = model_of(config)
    posterior = model.encode(tensor("image", image_shape)).latent_dist
    latents = tensor("latents", latents_shape)
    image = model.decode(latents).sample
    shift = model.config.shift_factor or 0.0
    outputs = {
        "mean": posterior.mean, "logvar": posterior.logvar, "image": image,
        "sample": posterior.mean + posterior.std * tensor("noise", posterior.mean.shape),
        "scaled": (latents - shift) * model.config.scaling_factor,
        "unscaled": latents / model.config.scaling_factor + shift}
    sum((outputs[key] * tensor("loss." + key, outputs[key].shape)).sum() for key in ("mean", "image")).backward()
    write(f"autoencoder-{name}", {
        "config": config, "image": image_shape, "latents": latents_shape,
        "outputs": {key: stored(value) for key, value in outputs.items()}, "gradients": gradient_summaries(model)})


def make_tiled():
    """Three rows of two tiles, the last row half as high."""
    config = dict(SMALL, sample_size=32)
    model = model_of(config)
    model.enable_tiling()
    image_shape, latents_shape = [1, 3, 64, 40], [1, 4, 16, 10]
    with torch.inference_mode():
        posterior = model.encode(tensor("image", image_shape)).latent_dist
        outputs = {
            "mean": posterior.mean, "logvar": posterior.logvar,
            "image": model.decode(tensor("latents", latents_shape)).sample}
    write("autoencoder-tiled", {
        "config": config, "image": image_shape, "latents": latents_shape,
        "outputs": {key: stored(value) for key, value in outputs.items()}, "gradients": {}})


def make_keys():
    """Keys and shapes of the autoencoder of Stable Diffusion 1 and 2."""
    config = dict(
        **blocks(128, 256, 512, 512), layers_per_block=2, latent_channels=4, norm_num_groups=32, sample_size=512)
    with torch.device("meta"):
        model = AutoencoderKL.from_config(config)
    write("autoencoder-keys", {
        "config": config, "shapes": {key: list(value.shape) for key, value in model.state_dict().items()}})


for name, case in PARITY.items():
    make_parity(name, *case)
make_tiled()
make_keys()
