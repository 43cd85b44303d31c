# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/SchedulersTests/Fixtures/samplers.json: trajectories of diffusers' schedulers for a made-up model.

Run by hand:  python Tests/Fixtures/make_sampler_fixtures.py      (torch 2.15.0, diffusers 0.42.1, numpy)

The model's k-th prediction is 0.5 · sample + 0.5 · unit("prediction.k"), so that it depends on the sample (errors
would grow) and on the call. Every sample of a trajectory is stored.
"""

import json
import pathlib

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, PNDMScheduler

from fixture_values import rounded, unit

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "SchedulersTests" / "Fixtures"
SHAPE = (1, 2, 2, 3)
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
SD_DDIM = dict(SD, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
SD_PNDM = dict(SD, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
V = dict(prediction_type="v_prediction")

# (sampler, scheduler class, config, steps)
CASES = [
    ("ddim", DDIMScheduler, SD_DDIM, 20),
    ("ddim", DDIMScheduler, dict(SD_DDIM, **V), 7),
    ("ddim", DDIMScheduler, dict(SD_DDIM, timestep_spacing="trailing", set_alpha_to_one=True), 30),
    ("ddim", DDIMScheduler, dict(SD_DDIM, timestep_spacing="linspace", **V), 6),
    ("ddim", DDIMScheduler, dict(num_train_timesteps=500), 9),
    ("ddim", DDIMScheduler, dict(clip_sample_range=2.0, **V), 5),
    ("pndm", PNDMScheduler, SD_PNDM, 50),
    ("pndm", PNDMScheduler, dict(SD_PNDM, **V), 9),
    ("pndm", PNDMScheduler, SD_PNDM, 1),
    ("pndm", PNDMScheduler, SD_PNDM, 2),
    ("pndm", PNDMScheduler, dict(SD_PNDM, timestep_spacing="trailing", set_alpha_to_one=True), 8),
    ("pndm", PNDMScheduler, dict(skip_prk_steps=True, timestep_spacing="linspace"), 5),
    ("pndm", PNDMScheduler, dict(SD_PNDM, skip_prk_steps=False), 8),
    ("pndm", PNDMScheduler, dict(**V), 4),
    ("dpm++", DPMSolverMultistepScheduler, SD, 20),
    ("dpm++", DPMSolverMultistepScheduler, dict(SD, **V), 8),
    ("dpm++", DPMSolverMultistepScheduler, dict(SD, timestep_spacing="leading", steps_offset=1), 10),
    ("dpm++", DPMSolverMultistepScheduler, dict(SD, timestep_spacing="trailing"), 15),
    ("dpm++", DPMSolverMultistepScheduler, dict(SD, solver_type="heun", **V), 16),
    ("dpm++", DPMSolverMultistepScheduler, dict(SD, final_sigmas_type="sigma_min"), 16),
    ("dpm++", DPMSolverMultistepScheduler, dict(SD, final_sigmas_type="sigma_min"), 6),
    ("dpm++", DPMSolverMultistepScheduler, dict(SD, final_sigmas_type="sigma_min", lower_order_final=False), 6),
    ("dpm++", DPMSolverMultistepScheduler, dict(SD, final_sigmas_type="sigma_min", euler_at_final=True), 16),
    ("dpm++", DPMSolverMultistepScheduler, dict(SD, solver_order=1), 5),
    ("dpm++", DPMSolverMultistepScheduler, dict(beta_schedule="linear"), 1),
]


def trajectory(kind, scheduler_class, config, steps):
    scheduler = scheduler_class(**config)
    scheduler.set_timesteps(steps)
    sample = torch.from_numpy(unit("noise", SHAPE))
    samples = []
    for index, timestep in enumerate(scheduler.timesteps):
        prediction = 0.5 * sample + 0.5 * torch.from_numpy(unit(f"prediction.{index}", SHAPE))
        sample = scheduler.step(prediction, timestep, sample).prev_sample
        samples.extend(rounded(sample))
    # What diffusers writes into scheduler_config.json, defaults (and a bare -Infinity) included.
    return {
        "sampler": kind, "config": config, "fullConfigText": scheduler.to_json_string(), "steps": steps,
        "timesteps": scheduler.timesteps.tolist(), "samples": samples}


def noising(config):
    scheduler = DDPMScheduler(**config)
    sample, noise = (torch.from_numpy(unit(name, (3, 2, 2))) for name in ("sample", "noise"))
    timesteps = torch.tensor([0, 500, 999])
    return {
        "config": config, "timesteps": timesteps.tolist(),
        "alphasCumprod": rounded(scheduler.alphas_cumprod[::111]),
        "noisy": rounded(scheduler.add_noise(sample, noise, timesteps)),
        "velocity": rounded(scheduler.get_velocity(sample, noise, timesteps))}


fixture = {
    "shape": SHAPE, "trajectories": [trajectory(*case) for case in CASES],
    "noising": [noising(SD), noising(dict(beta_schedule="linear"))]}
path = FIXTURES / "samplers.json"
path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
print(path.name, path.stat().st_size)
