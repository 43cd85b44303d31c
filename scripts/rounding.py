#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rounds the weights of a shapes model to the grids of a recipe by the error of the layers' outputs, for comparisons
with nearest rounding and with training.

    bitsfusion dataset --synthesize prompts.txt --model shapes -o set.h5
    scripts/rounding.py teacher.h5 recipe.json set.h5 --method adaround -o adaround.h5

Methods:
    nearest   round(w / s), as `bitsfusion quantize`
    gptq      Frantar et al. 2022 (arXiv:2210.17323): column by column; later columns compensate
    adaround  Nagel et al. 2020 (arXiv:2004.10568): each weight up or down, by gradient descent

Layers are rounded in their order of computation; the inputs of a layer come from the model whose earlier layers are
rounded, its target output from the unchanged model. Scales are those of `--init alternating`. The samples of the set
get noise of timesteps from Beta(3, 1), like those of stage I. The file that is written has dense weights; with
--student, it is a copy of that student with rounded weights and these scales, for `distill --stage 1 --student`.
"""

import argparse
import json
import shutil
import time

import diffusers
import h5py
import numpy
import torch
import torch.nn.functional as F

STRETCH = (-0.1, 1.1)  # AdaRound, equation 23


class TextEncoder:
    """CLIP's text encoder without causal mask, as in the shapes models."""

    def __init__(self, file, config):
        self.config = config
        self.group = file["text_encoder/text_model"]

    def tensor(self, path):
        return torch.from_numpy(self.group[path][...].astype(numpy.float32))

    def linear(self, path, x):
        return F.linear(x, self.tensor(path + "/weight"), self.tensor(path + "/bias"))

    def norm(self, path, x):
        return F.layer_norm(x, x.shape[-1:], self.tensor(path + "/weight"), self.tensor(path + "/bias"))

    def __call__(self, ids):
        """Embeddings [N, T, D] of token ids [N, T]."""
        x = self.tensor("embeddings/token_embedding/weight")[ids] + self.tensor("embeddings/position_embedding/weight")
        heads = self.config["num_attention_heads"]
        for layer in range(self.config["num_hidden_layers"]):
            path = f"encoder/layers/{layer}/"
            y = self.norm(path + "layer_norm1", x)
            q, k, v = (
                self.linear(f"{path}self_attn/{name}_proj", y).unflatten(-1, (heads, -1)).transpose(1, 2)
                for name in "qkv")
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
            x = x + self.linear(path + "self_attn/out_proj", y)
            y = F.gelu(self.linear(path + "mlp/fc1", self.norm(path + "layer_norm2", x)))
            x = x + self.linear(path + "mlp/fc2", y)
        return self.norm("final_layer_norm", x)


def header(file, name):
    return json.loads(file["header/" + name][()])


def load(path):
    """diffusers' UNet and scheduler, and the settings of the text encoder, of a shapes model."""
    with h5py.File(path) as file:
        unet = diffusers.UNet2DConditionModel.from_config(header(file, "unet"))
        state = {}
        file["unet"].visititems(lambda name, item: state.update(
            {name.replace("/", "."): torch.from_numpy(item[...].astype(numpy.float32))}
            if isinstance(item, h5py.Dataset) else {}))
        unet.load_state_dict(state)
        scheduler = diffusers.DDIMScheduler.from_config(header(file, "scheduler"))
        return unet.eval().requires_grad_(False), scheduler, header(file, "text_encoder")


def calibration(model, config, path, scheduler, count, seed):
    """Inputs of the UNet: noisy samples of a set, a tenth of them without caption."""
    generator = torch.Generator().manual_seed(seed)
    random = numpy.random.default_rng(seed)
    with h5py.File(path) as file:
        group = next(iter(file["latents"].values()))
        chosen = numpy.linspace(0, group["mean"].shape[0] - 1, count).round().astype(int)
        images = torch.from_numpy(group["mean"][...][chosen].astype(numpy.float32))
        ids = file["captions/input_ids"][...][group["captions"][...][chosen, 0]].astype(numpy.int64)
    empty = random.random(count) < 0.1
    ids[empty] = config["pad_token_id"]
    ids[empty, 0] = config["bos_token_id"]
    with h5py.File(model) as file:
        embeddings = TextEncoder(file, config)(torch.from_numpy(ids))
    timesteps = torch.from_numpy((random.beta(3, 1, count) * 1000).astype(numpy.int64))
    noise = torch.randn(images.shape, generator=generator)
    return {
        "sample": scheduler.add_noise(images, noise, timesteps), "timestep": timesteps,
        "encoder_hidden_states": embeddings}


def alternating_scales(weight, limit, rounds=10):
    """One scale for each row of `weight` [M, K]: least squares and rounding in turn, from min-max."""
    scales = weight.abs().amax(1, keepdim=True).clamp_min(1e-12) / limit
    for _ in range(rounds):
        codes = (weight / scales).round().clamp(-limit, limit)
        squares = (codes * codes).sum(1, keepdim=True)
        scales = torch.where(squares > 0, (codes * weight).sum(1, keepdim=True) / squares.clamp_min(1), scales)
    return scales


def columns(layer, x):
    """The inputs of the products of a layer: [rows, K] for weights [M, K]."""
    if isinstance(layer, torch.nn.Linear):
        return x.reshape(-1, x.shape[-1])
    unfolded = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return unfolded.transpose(1, 2).reshape(-1, unfolded.shape[1])


class Recorder:
    """The inputs of one layer in a forward pass."""

    def __init__(self, unet, inputs):
        self.unet, self.inputs = unet, inputs

    def __call__(self, path):
        layer, found = self.unet.get_submodule(path), []

        class Reached(Exception):
            pass

        def keep(_layer, arguments):
            found.append(arguments[0])
            raise Reached

        handle = layer.register_forward_pre_hook(keep)
        try:
            self.unet(**self.inputs)
        except Reached:
            pass
        handle.remove()
        return columns(layer, found[0])


def gptq(weight, scales, limit, hessian):
    """Codes of weights [M, K] for the error e H e^T of each row."""
    count = weight.shape[1]
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(count, dtype=hessian.dtype)
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    rest, codes = weight.clone(), torch.empty_like(weight)
    for column in range(count):
        codes[:, column] = (rest[:, column] / scales[:, 0]).round().clamp(-limit, limit)
        error = (rest[:, column] - codes[:, column] * scales[:, 0]) / upper[column, column]
        rest[:, column:] -= error[:, None] * upper[None, column, column:]
    return codes


def adaround(weight, scales, limit, hessian, target, steps=1000, regularization=0.01):
    """Codes of weights [M, K], each rounded up or down.

    Minimizes the output error for the products `hessian` = X~ X~^T and `target` = W X X~^T, in float32.
    """
    low, high = STRETCH
    floor = (weight / scales).floor()
    share = (weight / scales - floor).clamp(1e-3, 1 - 1e-3)
    variables = torch.logit((share - low) / (high - low)).requires_grad_(True)
    optimizer = torch.optim.Adam([variables], lr=1e-2)
    size = hessian.trace() * (scales * scales).mean()  # makes the error independent of units
    for step in range(steps):
        up = (torch.sigmoid(variables) * (high - low) + low).clamp(0, 1)
        rounded = (floor + up).clamp(-limit, limit) * scales
        product = rounded.detach() @ hessian
        # The gradient of the quadratic error, without a second product for the value.
        gradient = 2 * (product - target)
        progress = max(0, (step / steps - 0.2) / 0.8)
        loss = (rounded * gradient).sum() / size * weight.shape[1]
        if progress > 0:
            exponent = 2 + 18 * (1 - progress)
            loss = loss + regularization * (1 - (2 * up - 1).abs().pow(exponent)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (floor + (variables.detach() >= 0)).clamp(-limit, limit)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("recipe")
    parser.add_argument("data", help="set of `bitsfusion dataset`")
    parser.add_argument("--method", choices=["nearest", "gptq", "adaround"], required=True)
    parser.add_argument("--student", help="student whose weights and scales are replaced (default: the model's)")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    with open(options.recipe) as file:
        bits = json.load(file)["layers"]
    teacher, scheduler, text = load(options.model)
    student, _, _ = load(options.model)
    inputs = calibration(options.model, text, options.data, scheduler, options.samples, options.seed)
    original, rounded = Recorder(teacher, inputs), Recorder(student, inputs)
    order = []
    for path in bits:
        teacher.get_submodule(path).register_forward_pre_hook(lambda _layer, _arguments, path=path: order.append(path))
    reference = teacher(**inputs).sample
    for path in bits:
        teacher.get_submodule(path)._forward_pre_hooks.clear()
    found, started = {}, time.time()
    for path in order:
        layer = student.get_submodule(path)
        shape, limit = layer.weight.shape, 2 ** (bits[path] - 1)
        weight = layer.weight.flatten(1)
        scales = alternating_scales(weight, limit)
        if options.method == "nearest":
            codes = (weight / scales).round().clamp(-limit, limit)
        else:
            x, y = original(path), rounded(path)
            hessian, cross = y.T @ y, x.T @ y
            target = weight @ cross
            if options.method == "gptq":
                codes = gptq(weight.double(), scales.double(), limit, hessian.double()).float()
            else:
                with torch.enable_grad():
                    codes = adaround(weight, scales, limit, hessian, target)
        layer.weight.copy_((codes * scales).reshape(shape))
        found[path] = scales.flatten()
    error = F.mse_loss(student(**inputs).sample, reference)
    shutil.copy(options.student or options.model, options.output)
    with h5py.File(options.output, "r+") as file:
        for path in order:
            name = "unet/" + path.replace(".", "/") + "/weight"
            file[name][...] = student.get_submodule(path).weight.numpy()
            if options.student:
                file[name + "_scale"][...] = found[path].numpy().reshape(file[name + "_scale"].shape)
    print(f"{options.output}: {len(order)} layers, error of the prediction {error:.6f}, {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
