# SPDX-License-Identifier: Apache-2.0
"""Whole images with diffusers' StableDiffusionPipeline: text encoding, guided steps, decoding, PNG.

Settings (text): `folder`, a diffusers pipeline; without it, Stable Diffusion 1.5 is built from `Configs/` with random
weights. `prompt`, `negative_prompt`, `guidance_scale`, and `compared`, the names of the results. Settings (integers):
`steps`, `width`, `height`, `seed`. Parameters `unet.*`, `vae.*` and `text_encoder.*` among the tensors replace those of
the pipeline.
"""

import io
import math
import pathlib
import sys

import diffusers
import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import clip_vocabulary  # noqa: E402
import make_random_pipeline  # noqa: E402

COMPONENTS = ("unet", "vae", "text_encoder")
PROMPT = "a photo of an astronaut riding a horse"


def quiet() -> None:
    """Standard output belongs to the protocol, standard error to the Swift program's progress."""
    import transformers  # Here, because the other operations do not need the memory that it takes.

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()


def random_component(make, dtype: torch.dtype):
    """A model of the meta device with random values, of variance 1 / fan-in as in make_random_pipeline.py."""
    with torch.device("meta"):
        model = make()
    model = model.to(dtype).to_empty(device="cpu").eval()
    generator = torch.Generator("cpu").manual_seed(0)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 1 / math.sqrt(math.prod(parameter.shape[1:])), generator=generator)
            else:
                parameter.normal_(1 if key.endswith("weight") else 0, 0.05, generator=generator)
        for key, buffer in model.named_buffers():
            assert key.endswith("position_ids"), key
            buffer.copy_(torch.arange(buffer.shape[-1]).expand(buffer.shape))
    return model


def random_pipeline(dtype: torch.dtype):
    """Stable Diffusion 1.5 with random weights."""
    import transformers

    model = make_random_pipeline.SD15
    merges = clip_vocabulary.read_merges(clip_vocabulary.MERGES)
    vocabulary = {token: index for index, token in enumerate(clip_vocabulary.vocabulary(merges))}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    return diffusers.StableDiffusionPipeline(
        unet=random_component(lambda: diffusers.UNet2DConditionModel.from_config(model["unet"]), dtype),
        vae=random_component(lambda: diffusers.AutoencoderKL.from_config(model["vae"]), dtype),
        text_encoder=random_component(
            lambda: transformers.CLIPTextModel(transformers.CLIPTextConfig(**model["text_encoder"])), dtype),
        tokenizer=tokenizer, scheduler=diffusers.PNDMScheduler.from_config(model["scheduler"]),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def take_parameters(pipeline, tensors, dtype: torch.dtype) -> None:
    """Replaces the parameters of components by those among `tensors`."""
    for component in COMPONENTS:
        prefix = component + "."
        state = {key.removeprefix(prefix): tensors[key].to(dtype) for key in tensors if key.startswith(prefix)}
        if not state:
            continue
        module = getattr(pipeline, component)
        known = module.state_dict()
        # CLIPTextModel of recent versions of transformers has no `text_model` in its keys; checkpoints have.
        state = {key if key in known else key.removeprefix("text_model."): value for key, value in state.items()}
        # A packed model has cached time features in place of the time layers.
        module.load_state_dict(known | state, assign=True)


class PipelineSample:
    """An image from a prompt, with everything from the text to the bytes of a PNG file."""

    def __init__(self, tensors, settings: dict, dtype: torch.dtype):
        quiet()
        folder = settings.get("folder")
        self.pipeline = (
            diffusers.StableDiffusionPipeline.from_pretrained(folder, dtype=dtype) if folder
            else random_pipeline(dtype))
        take_parameters(self.pipeline, tensors, dtype)
        self.pipeline.set_progress_bar_config(disable=True)
        self.seed = settings["seed"]
        self.compared = settings.get("compared", "").split()
        self.options = {
            "prompt": settings.get("prompt", PROMPT), "negative_prompt": settings.get("negative_prompt"),
            "num_inference_steps": settings["steps"], "guidance_scale": float(settings.get("guidance_scale", "7.5")),
            "width": settings["width"], "height": settings["height"]}
        self.image = self.latents = self.png = None

    def prepare(self) -> None:
        pass

    def keep_latents(self, _pipeline, step: int, _timestep, values: dict) -> dict:
        if step == 0:
            self.latents = values["latents"]
        return {}

    def run(self) -> None:
        with torch.inference_mode():
            self.image = self.pipeline(
                **self.options, generator=torch.Generator("cpu").manual_seed(self.seed),
                callback_on_step_end=self.keep_latents).images[0]
        buffer = io.BytesIO()
        self.image.save(buffer, format="png")
        self.png = buffer.getvalue()

    def results(self) -> dict:
        """`prompt_embeds` [1, 77, D], `latents` [1, 4, h, w] after the first step, `image` [H, W, 3] from 0 to 255."""
        self.run()
        with torch.inference_mode():
            embeds, _ = self.pipeline.encode_prompt(self.options["prompt"], "cpu", 1, False)
        results = {"prompt_embeds": embeds, "latents": self.latents,
                   "image": torch.from_numpy(np.array(self.image, dtype=np.float32))}
        return {name: results[name] for name in self.compared or results}


OPERATIONS = {"pipeline_sample": PipelineSample}
