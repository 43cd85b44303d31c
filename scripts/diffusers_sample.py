#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sample an image with diffusers, for comparison with `bitsfusion sample`; prints times and peak memory.

    scripts/diffusers_sample.py FOLDER --prompt "a photo of an astronaut riding a horse" --seed 1024 -o image.png

FOLDER is a diffusers pipeline, or a single-file checkpoint together with `--config FOLDER`, a pipeline folder of the
same kind for configs and tokenizers. Noise comes from torch.Generator("cpu"). Needs scripts/requirements.txt, and peft
for --lora.
"""

import argparse
import logging
import pathlib
import resource
import sys
import time

import diffusers
import torch
import transformers

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SAMPLERS = {
    "pndm": ("PNDMScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "dpm++-karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {})}


def load(options):
    dtype = TYPES[options.dtype]
    if options.model.is_dir():
        return diffusers.DiffusionPipeline.from_pretrained(options.model, dtype=dtype)
    if not options.config:
        sys.exit(f"{options.model}: not a folder; a single file needs --config FOLDER")
    index = diffusers.DiffusionPipeline.load_config(options.config)
    pipeline_class = getattr(diffusers, index["_class_name"])
    return pipeline_class.from_single_file(
        str(options.model), config=str(options.config), dtype=dtype, local_files_only=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--config", type=pathlib.Path, metavar="FOLDER", help="for a single file: configs, tokenizers")
    parser.add_argument("--lora", metavar="FILE[=WEIGHT]", help="a LoRA")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--negative-prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance-scale", type=float, default=7.5)
    parser.add_argument("--sampler", choices=SAMPLERS, help="default: the model's scheduler")
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--dtype", choices=TYPES, default="fp32", help="default: fp32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, metavar="FILE.png")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    if options.threads:
        torch.set_num_threads(options.threads)
    if not options.model.exists():
        sys.exit(f"{options.model}: no such file or folder")

    start = time.perf_counter()
    pipeline = load(options)
    if options.sampler:
        name, keys = SAMPLERS[options.sampler]
        pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config, **keys)
    if options.lora:
        file, _, weight = options.lora.rpartition("=") if "=" in options.lora else (options.lora, "", "1")
        pipeline.load_lora_weights(file, adapter_name="lora")
        pipeline.set_adapters(["lora"], [float(weight)])
    loaded = time.perf_counter()
    image = pipeline(
        options.prompt, negative_prompt=options.negative_prompt, num_inference_steps=options.steps,
        guidance_scale=options.guidance_scale, width=options.width, height=options.height,
        generator=torch.Generator("cpu").manual_seed(options.seed)).images[0]
    image.save(options.output)
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{options.output}: {image.width}x{image.height}, {options.dtype}, {torch.get_num_threads()} threads; "
          f"loaded in {loaded - start:.1f} s, sampled in {end - loaded:.1f} s; peak memory {peak / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
