# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/QATTests/Fixtures/stage-*.json: losses and gradients of both distillation stages, by PyTorch, and
stage-curve.json: the losses of 50 steps of stage I.

Run by hand:  python Tests/Fixtures/make_stage_one_fixtures.py      (torch 2.15.0, diffusers 0.42.1, numpy)

One file for each kind of model: Stable Diffusion 1 (noise prediction), Stable Diffusion 2 (velocity, linear
projections, with and without zero terminal SNR), SDXL (added conditions) and inpainting (nine input channels, of which
four get noise). Weights, samples, noise and text embeddings come from fixture_values.py, so that a file holds settings,
losses and a summary of every gradient. Teacher and student differ in all parameters. PyTorch computes in float64 on
float32 inputs, and the 50 steps in float32; the quantized layers are those of the benchmarks' twin
(Benchmarks/pytorch/stage_one.py).
"""

import json
import math
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel

from fixture_values import gradient_summary, parameter, uniform, unit

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Benchmarks" / "pytorch"))

from stage_one import Features, is_time_layer, quantize  # noqa: E402

FIXTURES = ROOT / "Tests" / "QATTests" / "Fixtures"
FEATURE_WEIGHT = 0.25
TOKENS, CONTEXT, POOLED = 5, 12, 10
DOWN, CROSS_DOWN = "DownBlock2D", "CrossAttnDownBlock2D"
UP, CROSS_UP = "UpBlock2D", "CrossAttnUpBlock2D"

SD1 = dict(
    sample_size=8, in_channels=4, out_channels=4, block_out_channels=[8, 16], layers_per_block=1, attention_head_dim=2,
    cross_attention_dim=CONTEXT, norm_num_groups=4, down_block_types=[CROSS_DOWN, DOWN], up_block_types=[UP, CROSS_UP])
SD2 = dict(SD1, attention_head_dim=[1, 2], use_linear_projection=True)
SDXL = dict(
    SD2, transformer_layers_per_block=[1, 2], addition_embed_type="text_time", addition_time_embed_dim=4,
    projection_class_embeddings_input_dim=POOLED + 6 * 4, down_block_types=[DOWN, CROSS_DOWN],
    up_block_types=[CROSS_UP, UP])

# name: (config, prediction type, zero terminal SNR, timesteps, feature loss)
MODELS = {
    "sd1": (SD1, "epsilon", False, [981, 13, 400], "absolute"),
    "sd2-v": (SD2, "v_prediction", False, [981, 13, 400], "absolute"),
    # Timestep 999 has no signal at all.
    "sd2-zero-snr": (SD2, "v_prediction", True, [999, 13, 400], "relative"),
    "sdxl": (SDXL, "epsilon", False, [700, 250, 31], "absolute"),
    "inpainting": (dict(SD1, in_channels=9), "epsilon", False, [981, 13, 400], "absolute"),
}
# Of three samples, the second one loses its text.
DROPPED = [False, True, False]
SIZES = [[512, 768, 0, 16, 1024, 1024], [1024, 1024, 8, 0, 1024, 1024], [640, 480, 0, 0, 768, 1024]]


def double(array):
    return torch.from_numpy(np.asarray(array)).double()


def layer_bits(model):
    """8 bits for the first and the last layer, 1 to 5 in turn for the others; time layers are not quantized."""
    bits = {}
    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and not is_time_layer(name):
            bits[name] = 8 if name in ("conv_in", "conv_out") else 1 + len(bits) % 5
    return bits


def student_weight(key, shape):
    """Near the teacher's value. A product with a power of two and one sum, so that Swift computes the same bits."""
    return parameter(key, shape) + np.float32(1 / 32) * uniform("student." + key, shape)


def scales_of(weight, largest):
    """The largest weights of each channel are outside of the grid."""
    magnitude = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scales = magnitude / np.float32(largest) * np.float32(0.6875)
    ratio = np.abs(weight.astype(np.float64).reshape(len(weight), -1) / scales.astype(np.float64)[:, None])
    near = np.minimum(np.abs(ratio % 1 - 0.5), np.abs(ratio - largest))
    # float32 division errs by 2^-24 of the quotient.
    assert (near > 2e-7 * np.maximum(ratio, 1)).all(), "a quotient is too near a tie or the grid's end for float32"
    return scales


def build(config, values, dtype=torch.float64):
    model = UNet2DConditionModel(**config).to(dtype)
    with torch.no_grad():
        for key, value in model.named_parameters():
            value.copy_(double(values(key, value.shape)))
    return model


def make_student(config, dtype=torch.float64):
    model = build(config, student_weight, dtype)
    for name, value in model.named_parameters():
        value.requires_grad_(not is_time_layer(name))
    bits = layer_bits(model)
    largest = {name: 2 ** (width - 1) for name, width in bits.items()}
    tensors = {}
    for name, limit in largest.items():
        shape = model.get_submodule(name).weight.shape
        tensors["scales." + name] = double(scales_of(student_weight(name + ".weight", shape), limit)).to(dtype)
    quantize(model, tensors, largest)
    return model, bits


def inputs(config):
    """Samples with their conditions, and those of the empty prompt."""
    count, channels = len(DROPPED), config["in_channels"]
    is_xl = "addition_embed_type" in config
    values = {
        "latents": unit("latents", (count, channels, 8, 8)),
        "noise": unit("noise", (count, config["out_channels"], 8, 8)),
        "context": unit("context", (count, TOKENS, CONTEXT)),
        # SDXL's pipelines use zeros as the embedding of the empty prompt.
        "empty": np.zeros((1, TOKENS, CONTEXT), np.float32) if is_xl else unit("empty", (1, TOKENS, CONTEXT)),
    }
    if is_xl:
        values |= {"text": unit("text", (count, POOLED)), "empty_text": unit("empty_text", (1, POOLED))}
    return {name: double(value) for name, value in values.items()}


def dropped(rows, empty):
    mask = torch.tensor(DROPPED).reshape(-1, *[1] * (rows.dim() - 1))
    return torch.where(mask, empty, rows)


def summaries(model):
    """By the name of the parameter in the Swift program: the scales of a weight are `<weight>.scale`."""
    found = {}
    for name, value in model.named_parameters():
        key = name.replace(".scales", ".weight.scale")
        if value.requires_grad:
            found[key] = gradient_summary(key, value.grad.numpy(), entries=3)
    return found


def feature_distance(kind, student, teacher):
    """`relative`: each sample's squared error is divided by the mean square of the teacher's features."""
    if kind == "absolute":
        return F.mse_loss(student, teacher)
    power = teacher.square().flatten(1).mean(dim=1)
    return ((student - teacher).square().flatten(1).mean(dim=1) / power).mean()


def make(name, config, prediction_type, zero_snr, timesteps, feature_kind):
    teacher = build(config, parameter).eval().requires_grad_(False)
    student, bits = make_student(config)
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction_type,
        rescale_betas_zero_snr=zero_snr)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    values, times = inputs(config), torch.tensor(timesteps)
    clean, condition = values["latents"].split([config["out_channels"], config["in_channels"] - config["out_channels"]],
                                               dim=1)
    noisy = scheduler.add_noise(clean, values["noise"], times)
    arguments = {
        "sample": torch.cat([noisy, condition], dim=1), "timestep": times,
        "encoder_hidden_states": dropped(values["context"], values["empty"])}
    if "text" in values:
        arguments["added_cond_kwargs"] = {
            "text_embeds": dropped(values["text"], values["empty_text"]), "time_ids": double(SIZES)}

    def predictions():
        with torch.no_grad():
            target = teacher(**arguments).sample
        return student(**arguments).sample, target

    features = [Features(unet) for unet in (teacher, student)]
    prediction, target = predictions()
    of_teacher, of_student = (kept.take() for kept in features)
    noise_loss = F.mse_loss(prediction, target)
    feature_loss = sum(feature_distance(feature_kind, *pair) for pair in zip(of_student, of_teacher))
    (noise_loss + FEATURE_WEIGHT * feature_loss).backward()
    stage_one = {"noise": noise_loss.item(), "feature": feature_loss.item(), "gradients": summaries(student)}

    student.zero_grad(set_to_none=True)
    target = values["noise"] if prediction_type == "epsilon" else scheduler.get_velocity(clean, values["noise"], times)
    loss = F.mse_loss(student(**arguments).sample, target)
    loss.backward()
    stage_two = {"noise": loss.item(), "gradients": summaries(student)}

    path = FIXTURES / f"stage-{name}.json"
    path.write_text(json.dumps({
        "config": config, "predictionType": prediction_type, "rescaleBetasZeroSNR": zero_snr, "timesteps": timesteps,
        "dropped": DROPPED, "timeIDs": SIZES if "text" in values else None, "featureWeight": FEATURE_WEIGHT,
        "featureLoss": feature_kind, "bits": bits, "stageOne": stage_one, "stageTwo": stage_two},
        separators=(",", ":")) + "\n")
    print(path.name, path.stat().st_size, noise_loss.item(), feature_loss.item(), loss.item())


CURVE = {
    "steps": 50, "learningRate": 5e-4, "scaleLearningRate": 1e-4, "beta1": 0.9, "beta2": 0.99, "weightDecay": 0.01,
    "warmupSteps": 5, "finalFactor": 0.05, "maximumGradientNorm": 1.0}


def learning_rate_factor(step):
    """Linear warm-up, then cosine decay, as LearningRateSchedule.swift."""
    warmup = CURVE["warmupSteps"]
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / (CURVE["steps"] - warmup)
    return CURVE["finalFactor"] + (1 - CURVE["finalFactor"]) * 0.5 * (1 + math.cos(math.pi * progress))


def make_curve():
    """Losses of stage I in float32. Step k has the noise `noise-k` and the timesteps of "sd1", rotated by k."""
    config, _, _, timesteps, _ = MODELS["sd1"]
    teacher = build(config, parameter, torch.float32).eval().requires_grad_(False)
    student, bits = make_student(config, torch.float32)
    scales = [value for name, value in student.named_parameters() if name.endswith(".scales")]
    weights = [
        value for name, value in student.named_parameters() if value.requires_grad and not name.endswith(".scales")]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "lr": CURVE["learningRate"], "weight_decay": CURVE["weightDecay"]},
         {"params": scales, "lr": CURVE["scaleLearningRate"], "weight_decay": 0}],
        betas=(CURVE["beta1"], CURVE["beta2"]), eps=1e-8)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    values = {name: value.float() for name, value in inputs(config).items()}
    context = dropped(values["context"], values["empty"])
    features = [Features(unet) for unet in (teacher, student)]
    losses, norms = [], []
    for step in range(CURVE["steps"]):
        times = torch.tensor([timesteps[(row + step) % len(timesteps)] for row in range(len(timesteps))])
        noise = torch.from_numpy(unit(f"noise-{step}", values["noise"].shape))
        arguments = {
            "sample": scheduler.add_noise(values["latents"], noise, times), "timestep": times,
            "encoder_hidden_states": context}
        with torch.no_grad():
            target = teacher(**arguments).sample
        prediction = student(**arguments).sample
        of_teacher, of_student = (kept.take() for kept in features)
        loss = F.mse_loss(prediction, target) + FEATURE_WEIGHT * sum(
            F.mse_loss(ours, theirs) for ours, theirs in zip(of_student, of_teacher))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(weights + scales, CURVE["maximumGradientNorm"]).item())
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    path = FIXTURES / "stage-curve.json"
    path.write_text(json.dumps({**CURVE, "losses": losses, "gradientNorms": norms}, separators=(",", ":")) + "\n")
    print(path.name, path.stat().st_size, losses[0], losses[-1])


def main():
    torch.set_num_threads(1)
    FIXTURES.mkdir(exist_ok=True)
    for name, settings in MODELS.items():
        make(name, *settings)
    make_curve()


if __name__ == "__main__":
    main()
