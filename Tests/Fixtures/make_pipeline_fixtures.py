# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/PipelinesTests/Fixtures/pipelines: tiny Stable Diffusion pipelines and diffusers' images of them.

Run by hand:  python Tests/Fixtures/make_pipeline_fixtures.py      (torch 2.15.0, diffusers 0.42.1, transformers 5.24.0)

A case is a call of a pipeline with a prompt, a seed and a scheduler; manifest.json lists all of them. Models are
computed in float32. `--check` computes every image in float64 too and prints the largest difference: cases in which
rounding errors grow would not be references. It writes nothing.
"""

import argparse
import itertools
import json
import logging
import pathlib
import warnings

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.numpy import save_file

import pipeline_models
from fixture_values import uniform

torch.set_num_threads(1)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "PipelinesTests" / "Fixtures" / "pipelines"

# sampler: (class, keys that differ from the model's scheduler config)
SCHEDULERS = {
    "pndm": ("PNDMScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "dpm++-karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "ddim-zero-snr": ("DDIMScheduler", {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"})}

ASTRONAUT = "a photo of an astronaut riding a horse on the moon"
CAT = "A painting of a red cat, in the garden!"
SHIP = "a large ship over the sea"
BIRD = "a small bird in an old tree"
WINTER = "make it look like winter"
BLURRY = "blurry, low quality, watermark"
LONG = ", ".join([ASTRONAUT, CAT, SHIP, BIRD, WINTER] * 3)
IMAGE = {"image": "inputs/image-32.png"}
MASKED = {**IMAGE, "mask_image": "inputs/mask-32.png"}
# The layers that LoRAs change, by the end of their names.
LORA_LAYERS = ("attn1.to_q", "attn2.to_v", "to_out.0", "ff.net.2", "self_attn.q_proj", "mlp.fc1")

# What every case has if it does not say otherwise. `scheduler` null: the one of the folder.
DEFAULTS = {
    "prompts": [ASTRONAUT], "negative_prompt": None, "seeds": [1], "steps": 10, "scheduler": None, "width": 32,
    "height": 32, "guidance_scale": 7.5}
MATRIX = {
    "sd1": {}, "sd2": {"prompts": [CAT], "seeds": [2]}, "sd2-v": {"prompts": [SHIP], "seeds": [3]},
    "sdxl": {"prompts": [CAT], "seeds": [4]}, "inpaint": {"prompts": [BIRD], "seeds": [5], "task": "inpaint", **MASKED},
    "pix2pix": {"prompts": [WINTER], "seeds": [6], "task": "pix2pix", "image_guidance_scale": 1.5, **IMAGE}}
CASES = {
    "sd1": {
        "negative": {"negative_prompt": BLURRY, "scheduler": "dpm++"},
        "guidance-1": {"guidance_scale": 1.0, "scheduler": "dpm++"},
        "clip-skip-1": {"clip_skip": 1, "scheduler": "dpm++"},
        "clip-skip-2": {"clip_skip": 2, "scheduler": "dpm++"},
        "batch": {"prompts": [SHIP, BIRD], "seeds": [8, 9], "scheduler": "euler-ancestral"},
        "sample-size": {"prompts": [SHIP], "width": None, "height": None, "scheduler": "dpm++"},
        "wide": {"prompts": [SHIP], "width": 96, "height": 64, "scheduler": "euler"},
        "large-seed": {"seeds": [2**32 + 7], "scheduler": "dpm++"},
        "long-prompt": {"prompts": [LONG], "scheduler": "dpm++"},
        "empty-prompt": {"prompts": [""], "scheduler": "dpm++"},
        "lora": {"lora": "inputs/lora-sd1.safetensors", "lora_weight": 0.75, "scheduler": "dpm++"},
        "img2img-pndm": {"task": "img2img", "strength": 0.6, "scheduler": "pndm", **IMAGE},
        "img2img-ddim": {"task": "img2img", "strength": 0.6, "scheduler": "ddim", **IMAGE},
        "img2img-dpm++": {"task": "img2img", "strength": 0.6, "scheduler": "dpm++", **IMAGE},
        "img2img-euler-ancestral": {"task": "img2img", "strength": 0.35, "scheduler": "euler-ancestral", **IMAGE},
        "img2img-heun": {"task": "img2img", "strength": 0.6, "scheduler": "heun", **IMAGE},
        "img2img-unipc": {"task": "img2img", "strength": 0.6, "scheduler": "unipc", **IMAGE},
        "img2img-lcm": {"task": "img2img", "strength": 0.6, "scheduler": "lcm", **IMAGE},
        "img2img-batch": {"task": "img2img", "strength": 0.6, "prompts": [SHIP, BIRD], "seeds": [8, 9],
                          "scheduler": "euler", **IMAGE},
        "img2img-strength-1": {"task": "img2img", "strength": 1.0, "scheduler": "euler", **IMAGE},
        "img2img-64": {"task": "img2img", "strength": 0.8, "scheduler": "euler", "width": 64, "height": 64,
                       "image": "inputs/image-64.png"},
        "blended-ddim": {"task": "inpaint", "strength": 1.0, "scheduler": "ddim", **MASKED},
        "blended-euler-ancestral": {"task": "inpaint", "strength": 1.0, "scheduler": "euler-ancestral", **MASKED},
        "blended-strength": {"task": "inpaint", "strength": 0.6, "scheduler": "dpm++", **MASKED}},
    "sd2": {
        "negative": {"negative_prompt": BLURRY, "scheduler": "dpm++"},
        "clip-skip-1": {"clip_skip": 1, "scheduler": "dpm++"}},
    "sd2-v": {
        "guidance-rescale": {"guidance_rescale": 0.7, "scheduler": "ddim-zero-snr"},
        "zero-snr": {"scheduler": "ddim-zero-snr"},
        "img2img": {"task": "img2img", "strength": 0.6, "scheduler": "euler", **IMAGE}},
    "sdxl": {
        "empty-negative": {"negative_prompt": "", "scheduler": "euler"},
        "negative": {"negative_prompt": BLURRY, "scheduler": "euler"},
        "guidance-1": {"guidance_scale": 1.0, "scheduler": "euler"},
        "clip-skip-1": {"clip_skip": 1, "scheduler": "euler"},
        "guidance-rescale": {"guidance_rescale": 0.7, "scheduler": "euler"},
        "batch": {"prompts": [SHIP, BIRD], "seeds": [8, 9], "scheduler": "euler"},
        "wide": {"width": 64, "height": 32, "scheduler": "euler"},
        "lora": {"lora": "inputs/lora-sdxl.safetensors", "lora_weight": -0.5, "scheduler": "euler"},
        "img2img": {"task": "img2img", "strength": 0.6, "scheduler": "euler", **IMAGE},
        "blended": {"task": "inpaint", "strength": 0.9, "scheduler": "euler", **MASKED}},
    "inpaint": {
        "strength": {"strength": 0.6, "scheduler": "ddim"},
        "batch": {"prompts": [SHIP, BIRD], "seeds": [8, 9], "scheduler": "ddim"}},
    "pix2pix": {
        "guidance-1": {"guidance_scale": 1.0, "scheduler": "euler"},
        "negative": {"negative_prompt": BLURRY, "scheduler": "euler"}}}

# Pipeline classes of a task, for SD 1 and 2 and for SDXL.
CLASSES = {
    None: ("StableDiffusionPipeline", "StableDiffusionXLPipeline"),
    "img2img": ("StableDiffusionImg2ImgPipeline", "StableDiffusionXLImg2ImgPipeline"),
    "inpaint": ("StableDiffusionInpaintPipeline", "StableDiffusionXLInpaintPipeline"),
    "pix2pix": ("StableDiffusionInstructPix2PixPipeline", None)}
# Cases whose intermediate values are stored; the default cases too.
INTERMEDIATES = {("sd1", "img2img-ddim"), ("sd1", "blended-ddim"), ("sd1", "clip-skip-2"), ("sdxl", "img2img")}


def write_inputs():
    """An image of smooth colors, and a mask of several grays: from 128 on, pixels are painted."""
    for size in (32, 64):
        y, x = np.mgrid[:size, :size] / size
        image = np.stack([255 * x, 255 * (1 - y), 127 + 120 * np.sin(9 * x * y)], axis=-1)
        save_png(image, f"inputs/image-{size}.png")
    y, x = np.mgrid[:32, :32]
    mask = np.where((x - 18) ** 2 + (y - 13) ** 2 < 90, 255, 0)
    mask[20:28, 2:7], mask[20:28, 25:30] = 127, 128
    save_png(mask, "inputs/mask-32.png")


def write_lora(kind):
    """A LoRA of UNet and text encoders, of rank 2, with PEFT's names."""
    loaded, tensors = load(kind, torch.float32), {}
    for component in ("unet", "text_encoder", "text_encoder_2"):
        network = getattr(loaded, component, None)
        for name, layer in network.named_modules() if network else ():
            if name.endswith(LORA_LAYERS):
                key = f"{component}.{name}"
                outputs, inputs = layer.weight.shape
                tensors[key + ".lora_A.weight"] = uniform(key + ".down", (2, inputs)) / 4
                tensors[key + ".lora_B.weight"] = uniform(key + ".up", (outputs, 2))
    save_file(tensors, FOLDER / f"inputs/lora-{kind}.safetensors")


def save_png(values, name):
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path, optimize=True)


def load(kind, dtype):
    pipeline = diffusers.DiffusionPipeline.from_pretrained(FOLDER / kind, dtype=dtype)
    if not hasattr(pipeline.text_encoder, "text_model"):
        # diffusers reads this attribute for `clip_skip`; transformers 5.24 has none.
        object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)
    return pipeline


class Recorder:
    """Keeps what methods of a pipeline return, and the last latents."""

    NAMES = {
        "encode_prompt": ["prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds",
                          "negative_pooled_prompt_embeds"],
        "prepare_latents": ["initial_latents", "noise", "image_latents"],
        "prepare_mask_latents": ["mask", "masked_image_latents"],
        "prepare_image_latents": ["image_latents"]}

    def __init__(self, pipeline):
        self.values = {}
        for method, names in self.NAMES.items():
            if hasattr(pipeline, method):
                setattr(pipeline, method, self.recording(getattr(pipeline, method), names))

    def recording(self, method, names):
        def call(*arguments, **options):
            result = method(*arguments, **options)
            for name, value in zip(names, result if isinstance(result, tuple) else [result]):
                # Zeros of negative embeddings need no reference.
                if torch.is_tensor(value) and value.any():
                    self.values[name] = value
            return result
        return call

    def keep_latents(self, _pipeline, _step, _timestep, values):
        self.values["final_latents"] = values["latents"]
        return {}


def input_image(case, key):
    return Image.open(FOLDER / case[key]).copy()


def call(loaded, case, dtype):
    """The images of a case as float values from 0 to 255, and the recorded values."""
    is_xl = hasattr(loaded, "text_encoder_2")
    pipeline_class = getattr(diffusers, CLASSES[case.get("task")][is_xl])
    components = dict(loaded.components)
    if case["scheduler"]:
        name, keys = SCHEDULERS[case["scheduler"]]
        components["scheduler"] = getattr(diffusers, name).from_config(loaded.scheduler.config, **keys)
    else:
        components["scheduler"] = type(loaded.scheduler).from_config(loaded.scheduler.config)
    if is_xl and case.get("task"):
        components |= {"requires_aesthetics_score": False}
    elif not is_xl:
        components |= {"requires_safety_checker": False}
    pipeline = pipeline_class(**components)
    pipeline.set_progress_bar_config(disable=True)
    if "lora" in case:
        pipeline.load_lora_weights(FOLDER / case["lora"], adapter_name="lora")
        pipeline.set_adapters(["lora"], [case["lora_weight"]])
    recorder = Recorder(pipeline)
    options = {key: case[key] for key in (
        "strength", "image_guidance_scale", "clip_skip", "guidance_rescale") if key in case}
    options |= {key: input_image(case, key) for key in ("image", "mask_image") if key in case}
    if case.get("task") in (None, "inpaint"):
        options |= {"width": case["width"], "height": case["height"]}
    if case["negative_prompt"] is not None:
        options["negative_prompt"] = [case["negative_prompt"]] * len(case["prompts"])
    if len(case["prompts"]) > 1 and case.get("task"):
        # One image per prompt, as these pipelines ask.
        options |= {key: [options[key]] * len(case["prompts"]) for key in ("image", "mask_image") if key in options}
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in case["seeds"]]
    images = pipeline(
        prompt=case["prompts"], num_inference_steps=case["steps"], guidance_scale=case["guidance_scale"],
        generator=generators if len(generators) > 1 else generators[0], output_type="np",
        callback_on_step_end=recorder.keep_latents, **options).images
    if "lora" in case:
        pipeline.unload_lora_weights()
    return images * 255, recorder.values


def all_cases(kind):
    """(name, case, name of its tensor): each scheduler, the scheduler of the folder, further cases."""
    own = {"pndm": "pndm", "ddim-v": "ddim", "euler": "euler", "euler-ancestral": "euler-ancestral"}
    base = {**DEFAULTS, **MATRIX[kind]}
    default = own[pipeline_models.KINDS[kind].scheduler]
    yield "default", base, default
    for scheduler in SCHEDULERS:
        if scheduler != "ddim-zero-snr":
            yield scheduler, {**base, "scheduler": scheduler}, scheduler
    for name, case in CASES[kind].items():
        yield name, {**base, **case}, name


def check_images(kind, images):
    """Images must differ from each other, and must not be flat or clipped, else tests cannot fail."""
    for name, image in images.items():
        assert image.std() > 20 and np.isin(image, (0, 255)).mean() < 0.03, (kind, name, image.std())
    for (name, image), (other_name, other) in itertools.combinations(images.items(), 2):
        # DDIM and Euler's method are the same but for the last step.
        if image.shape == other.shape and {name, other_name} != {"ddim", "euler"}:
            difference = np.abs(image.astype(int) - other.astype(int)).max()
            assert difference > 4, (kind, name, other_name, difference)


def make(kind):
    loaded = load(kind, torch.float32)
    tensors, images, entries = {}, {}, []
    for name, case, tensor in all_cases(kind):
        values, recorded = call(loaded, case, torch.float32)
        image = values.round().astype(np.uint8)
        if tensor in images:
            assert np.array_equal(images[tensor], image), (kind, name)
        images[tensor] = image
        scheduler = SCHEDULERS[case["scheduler"]] if case["scheduler"] else (None, {})
        entry = {"name": f"{kind}/{name}", "pipeline": kind, "task": case.get("task", "text2img"), **case,
                 "scheduler_class": scheduler[0], "scheduler_keys": scheduler[1],
                 "reference": f"references/{kind}.safetensors", "tensor": tensor}
        if name == "default" or (kind, name) in INTERMEDIATES:
            entry["intermediates"] = {}
            for key, value in sorted(recorded.items()):
                if "prompt_embeds" in key and kind not in ("sd1", "sd2", "sdxl"):
                    continue  # The text encoder is that of one of these.
                stored = next((other for other, known in tensors.items() if np.array_equal(known, value)), None)
                entry["intermediates"][key] = stored or f"{name}.{key}"
                tensors.setdefault(entry["intermediates"][key], value.numpy().copy())
        entries.append(entry)
    check_images(kind, images)
    path = FOLDER / "references" / f"{kind}.safetensors"
    path.parent.mkdir(exist_ok=True)
    # safetensors writes the memory of an array, whatever its strides.
    save_file({name: np.ascontiguousarray(value) for name, value in (tensors | images).items()}, path)
    path.chmod(0o644)
    print(f"{kind}: {len(entries)} cases, {path.stat().st_size} bytes")
    return entries


def check(kind):
    """Prints the largest difference between images in float32 and in float64."""
    largest = {}
    for dtype in (torch.float32, torch.float64):
        loaded = load(kind, dtype)
        for name, case, tensor in all_cases(kind):
            values, _ = call(loaded, case, dtype)
            largest[name] = np.abs(values - largest[name]).max() if name in largest else values
    worst = sorted(largest.items(), key=lambda entry: -entry[1])[:4]
    print(f"{kind}: " + ", ".join(f"{name} {difference:.4f}" for name, difference in worst))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with float64 instead of writing")
    if parser.parse_args().check:
        randn = torch.randn
        # Both types get the same noise.
        torch.randn = lambda *shape, dtype=None, **options: randn(*shape, **options).to(dtype or torch.float32)
        for kind in pipeline_models.KINDS:
            check(kind)
        return
    pipeline_models.write_all(FOLDER)
    write_inputs()
    for kind in ("sd1", "sdxl"):
        write_lora(kind)
    entries = [entry for kind in pipeline_models.KINDS for entry in make(kind)]
    lines = ",\n".join(map(json.dumps, entries))
    (FOLDER / "manifest.json").write_text(f'{{"cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
