# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/SchedulersTests/Fixtures/samplers.json: trajectories of diffusers' schedulers for a made-up model.

Run by hand:  python Tests/Fixtures/make_sampler_fixtures.py      (torch 2.15.0, diffusers 0.42.1, numpy)

The model's k-th prediction is 0.5 · input + 0.5 · unit("prediction.k"), so that it depends on the scaled sample (errors
would grow) and on the call. The k-th draw of noise is unit("draw.k"). Every sample of a trajectory is stored.
"""

import json
import pathlib
import sys

import diffusers
import torch
from diffusers import (
    DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler,
    HeunDiscreteScheduler, LCMScheduler, PNDMScheduler, UniPCMultistepScheduler)

from fixture_values import rounded, unit

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "SchedulersTests" / "Fixtures"
SHAPE = (1, 2, 2, 3)
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
SD_DDIM = dict(SD, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
SD_PNDM = dict(SD, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
V = dict(prediction_type="v_prediction")
X0 = dict(prediction_type="sample")
LEADING = dict(timestep_spacing="leading", steps_offset=1)
TRAILING = dict(timestep_spacing="trailing")
ZERO_SNR = dict(rescale_betas_zero_snr=True, **TRAILING, **V)
KARRAS = dict(use_karras_sigmas=True)
BETAS = [round(0.001 + 0.0004 * index, 6) for index in range(40)]

CLASSES = {
    "ddim": DDIMScheduler, "pndm": PNDMScheduler, "dpm++": DPMSolverMultistepScheduler,
    "dpm++-karras": DPMSolverMultistepScheduler, "euler": EulerDiscreteScheduler,
    "euler-ancestral": EulerAncestralDiscreteScheduler, "heun": HeunDiscreteScheduler,
    "unipc": UniPCMultistepScheduler, "lcm": LCMScheduler, "ddpm": DDPMScheduler}

# (sampler, config, steps), then the strength of a run that starts from an image.
CASES = [
    ("ddim", SD_DDIM, 20),
    ("ddim", dict(SD_DDIM, **V), 7),
    ("ddim", dict(SD_DDIM, timestep_spacing="trailing", set_alpha_to_one=True), 30),
    ("ddim", dict(SD_DDIM, timestep_spacing="linspace", **V), 6),
    ("ddim", dict(num_train_timesteps=500), 9),
    ("ddim", dict(clip_sample_range=2.0, **V), 5),
    ("pndm", SD_PNDM, 50),
    ("pndm", dict(SD_PNDM, **V), 9),
    ("pndm", SD_PNDM, 1),
    ("pndm", SD_PNDM, 2),
    ("pndm", dict(SD_PNDM, timestep_spacing="trailing", set_alpha_to_one=True), 8),
    ("pndm", dict(skip_prk_steps=True, timestep_spacing="linspace"), 5),
    ("pndm", dict(SD_PNDM, skip_prk_steps=False), 8),
    ("pndm", dict(**V), 4),
    ("dpm++", SD, 20),
    ("dpm++", dict(SD, **V), 8),
    ("dpm++", dict(SD, timestep_spacing="leading", steps_offset=1), 10),
    ("dpm++", dict(SD, timestep_spacing="trailing"), 15),
    ("dpm++", dict(SD, solver_type="heun", **V), 16),
    ("dpm++", dict(SD, final_sigmas_type="sigma_min"), 16),
    ("dpm++", dict(SD, final_sigmas_type="sigma_min"), 6),
    ("dpm++", dict(SD, final_sigmas_type="sigma_min", lower_order_final=False), 6),
    ("dpm++", dict(SD, final_sigmas_type="sigma_min", euler_at_final=True), 16),
    ("dpm++", dict(SD, solver_order=1), 5),
    ("dpm++", dict(beta_schedule="linear"), 1),
    # Predictions of the sample, zero terminal SNR, other beta schedules, runs from an image.
    ("ddim", dict(SD_DDIM, **X0), 10),
    ("ddim", dict(SD_DDIM, **ZERO_SNR), 10),
    ("ddim", dict(num_train_timesteps=40, trained_betas=BETAS, clip_sample=False), 10),
    ("ddim", dict(SD_DDIM), 10, 0.75),
    ("pndm", dict(SD_PNDM), 10, 0.6),
    ("pndm", dict(SD_PNDM, skip_prk_steps=False), 10, 0.5),
    ("dpm++", dict(SD, **X0), 10),
    ("dpm++", dict(SD, **KARRAS), 10),
    ("dpm++", dict(SD, **KARRAS, **V), 24),
    ("dpm++", dict(SD, **ZERO_SNR), 10),
    ("dpm++", dict(beta_schedule="squaredcos_cap_v2", **KARRAS), 10),
    ("dpm++", dict(beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1), 10),
    ("dpm++", dict(SD), 10, 0.31),
    ("dpm++-karras", dict(SD, **LEADING, **KARRAS, sigma_min=0.1, sigma_max=10), 10),
    *[("euler", dict(SD, **spacing, **kind), 10)
      for spacing in (LEADING, {}, TRAILING) for kind in ({}, V, X0)],
    ("euler", dict(SD, **LEADING), 1),
    ("euler", SD, 7),
    ("euler", dict(SD, **LEADING, **KARRAS), 10),
    ("euler", dict(SD, **KARRAS, **V, sigma_min=0.05, sigma_max=12.0), 10),
    ("euler", dict(SD, **ZERO_SNR), 10),
    ("euler", dict(SD, final_sigmas_type="sigma_min"), 10),
    ("euler", dict(beta_schedule="squaredcos_cap_v2"), 10),
    ("euler", dict(SD, **LEADING), 10, 0.8),
    *[("euler-ancestral", dict(SD, **spacing, **kind), 10)
      for spacing in (LEADING, {}, TRAILING) for kind in ({}, V)],
    ("euler-ancestral", dict(SD, **ZERO_SNR), 10),
    ("euler-ancestral", SD, 7, 0.5),
    *[("heun", dict(SD, **spacing, **kind), 10)
      for spacing in (LEADING, {}, TRAILING) for kind in ({}, V, X0)],
    ("heun", {}, 1),
    ("heun", dict(SD, **KARRAS), 7),
    ("heun", dict(SD, clip_sample=True, clip_sample_range=1.5), 5),
    ("heun", dict(SD, **LEADING), 7, 0.6),
    *[("unipc", dict(SD, **spacing, **kind), 10)
      for spacing in (LEADING, {}, TRAILING) for kind in ({}, V, X0)],
    ("unipc", dict(SD, solver_order=1), 10),
    ("unipc", dict(SD, solver_order=3), 10),
    ("unipc", dict(SD, solver_order=3, lower_order_final=False, final_sigmas_type="sigma_min"), 10),
    ("unipc", dict(SD, solver_order=3, solver_type="bh1", final_sigmas_type="sigma_min"), 10),
    ("unipc", dict(SD, disable_corrector=[0, 3]), 6),
    ("unipc", dict(SD, **KARRAS), 10),
    ("unipc", dict(SD, **KARRAS, final_sigmas_type="sigma_min", **V), 10),
    ("unipc", dict(SD, **ZERO_SNR), 10),
    ("unipc", dict(SD), 1),
    ("unipc", dict(SD), 10, 0.5),
    *[("lcm", kind, 4) for kind in ({}, V, X0)],
    ("lcm", dict(original_inference_steps=33, timestep_scaling=5.0), 7),
    ("lcm", dict(clip_sample=True), 3),
    ("lcm", dict(**ZERO_SNR), 2),
    ("lcm", {}, 1),
    ("lcm", {}, 8, 0.5),
    *[("ddpm", dict(SD_DDIM, **spacing, **kind), 10) for spacing in (LEADING, TRAILING) for kind in ({}, V, X0)],
    ("ddpm", dict(timestep_spacing="linspace", variance_type="fixed_large"), 6),
    ("ddpm", dict(SD, variance_type="fixed_small_log", **ZERO_SNR), 6),
    ("ddpm", dict(SD_DDIM), 10, 0.4),
]


class Draws:
    """Stands in for diffusers' randn_tensor."""

    def __init__(self):
        self.count = 0

    def __call__(self, shape, **_):
        self.count += 1
        return torch.from_numpy(unit(f"draw.{self.count - 1}", tuple(shape)))


def compact(scheduler):
    """What diffusers writes into scheduler_config.json, defaults (and a bare -Infinity) included."""
    return json.dumps(json.loads(scheduler.to_json_string()), separators=(",", ":"))


def set_begin_index(scheduler, index):
    """Without it, a scheduler whose first timesteps are equal would skip the first step."""
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(index)


def trajectory(kind, config, steps, strength=None):
    scheduler = CLASSES[kind].from_config(config)
    draws = Draws()
    module = sys.modules[type(scheduler).__module__]
    if hasattr(module, "randn_tensor"):
        module.randn_tensor = draws
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps
    noise = torch.from_numpy(unit("noise", SHAPE))
    original = torch.from_numpy(unit("original", SHAPE))
    start = 0
    if strength is None:
        set_begin_index(scheduler, 0)
        sample = noise * scheduler.init_noise_sigma
    else:
        # As get_timesteps of StableDiffusionImg2ImgPipeline.
        start = max(steps - min(int(steps * strength), steps), 0) * scheduler.order
        set_begin_index(scheduler, start)
        sample = scheduler.add_noise(original, noise, timesteps[start:start + 1])
    first, samples, renoised = rounded(sample, 6), [], []
    for index, timestep in enumerate(timesteps[start:]):
        scaled = scheduler.scale_model_input(sample, timestep)
        prediction = 0.5 * scaled + 0.5 * torch.from_numpy(unit(f"prediction.{index}", SHAPE))
        sample = scheduler.step(prediction, timestep, sample).prev_sample
        samples.append(rounded(sample, 6))
        if strength is not None and index == 0 and len(timesteps) > start + 1:
            # As StableDiffusionInpaintPipeline after a step.
            renoised = rounded(scheduler.add_noise(original, noise, timesteps[start + 1:start + 2]), 6)
    return {
        "sampler": kind, "config": json.dumps(config, separators=(",", ":")), "steps": steps, "strength": strength,
        "initNoiseSigma": float(scheduler.init_noise_sigma), "timesteps": rounded(timesteps), "first": first,
        "samples": samples, "renoised": renoised, "draws": draws.count}


def noising(config):
    scheduler = DDPMScheduler(**config)
    sample, noise = (torch.from_numpy(unit(name, (3, 2, 2))) for name in ("sample", "noise"))
    timesteps = torch.tensor([0, 500, 999])
    return {
        "config": compact(scheduler), "timesteps": timesteps.tolist(),
        "alphasCumprod": rounded(scheduler.alphas_cumprod[::111]),
        "noisy": rounded(scheduler.add_noise(sample, noise, timesteps)),
        "velocity": rounded(scheduler.get_velocity(sample, noise, timesteps))}


# Configs that are read by all classes: the defaults, and what the repositories of SD 1.5, SD 2.1 and SDXL hold.
OTHER_CLASSES = [
    "DEISMultistepScheduler", "DPMSolverSinglestepScheduler", "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler", "TCDScheduler"]
SOURCES = [scheduler_class() for scheduler_class in dict.fromkeys(CLASSES.values())]
SOURCES += [getattr(diffusers, name)() for name in OTHER_CLASSES]
SOURCES += [
    PNDMScheduler(**SD_PNDM), DDIMScheduler(**SD_DDIM, **V),
    EulerDiscreteScheduler.from_config(dict(
        SD, **LEADING, clip_sample=False, interpolation_type="linear", prediction_type="epsilon", sample_max_value=1.0,
        set_alpha_to_one=False, skip_prk_steps=True, trained_betas=None, use_karras_sigmas=False)),
    DPMSolverMultistepScheduler(**SD, **KARRAS, solver_type="heun"), UniPCMultistepScheduler(**SD, **TRAILING)]


def reading(source):
    """What each sampler makes of one config in 5 steps: timesteps, and the standard deviation of the first noise.

    Without the samplers whose scheduler refuses the config.
    """
    text, readers = compact(source), {}
    for kind, scheduler_class in CLASSES.items():
        overrides = KARRAS if kind == "dpm++-karras" else {}
        try:
            scheduler = scheduler_class.from_config(json.loads(text), **overrides)
            scheduler.set_timesteps(5)
        except (ValueError, NotImplementedError) as error:
            print(kind, "refuses", type(source).__name__, error)
            continue
        readers[kind] = {
            "timesteps": rounded(scheduler.timesteps), "initNoiseSigma": float(scheduler.init_noise_sigma)}
    return {"config": text, "readers": readers}


fixture = {
    "shape": SHAPE, "trajectories": [trajectory(*case) for case in CASES],
    "noising": [noising(SD), noising(dict(beta_schedule="linear")), noising(dict(beta_schedule="squaredcos_cap_v2")),
                noising(dict(SD, rescale_betas_zero_snr=True))],
    "readings": [reading(source) for source in SOURCES]}
path = FIXTURES / "samplers.json"
path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
print(path.name, path.stat().st_size)
