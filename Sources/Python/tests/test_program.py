# SPDX-License-Identifier: Apache-2.0
"""Files that the program makes during the test: SDXL, and the included model of shapes.

The environment variable BITSFUSION_PROGRAM names the program; without it, these tests are skipped.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import bitsfusion

from . import reference
from .test_loading import HAS_DIFFUSERS

PROGRAM = os.environ.get("BITSFUSION_PROGRAM")
if HAS_DIFFUSERS and PROGRAM:
    import safetensors.torch
    import torch


@unittest.skipUnless(PROGRAM, "BITSFUSION_PROGRAM is not set")
@unittest.skipUnless(HAS_DIFFUSERS, "diffusers is not installed")
class ProgramTests(unittest.TestCase):
    def setUp(self):
        torch.set_num_threads(1)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_program(self, *arguments):
        done = subprocess.run([os.path.abspath(PROGRAM), *map(str, arguments)], cwd=self.folder, capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def write_pipeline(self, base, changes):
        """A folder `model` of random weights, and the file model.h5 and recipe.json for it."""
        sys.path.insert(0, str(reference.ROOT / "scripts"))
        import make_random_pipeline

        model = {**base(make_random_pipeline), **{
            name: {**base(make_random_pipeline)[name], **change} for name, change in changes.items()}}
        options = argparse.Namespace(seed=0, dtype="float16", merges=make_random_pipeline.clip_vocabulary.MERGES)
        with contextlib.redirect_stdout(io.StringIO()):
            make_random_pipeline.write_folder(options, model, self.folder / "model")
        self.run_program("import", "model", "-o", "model.h5", "-q")
        layers = [key.removesuffix(".weight")
                  for key, shape in make_random_pipeline.SHAPES["unet"](model["unet"]).items()
                  if key.endswith(".weight") and len(shape) > 1 and "time_emb" not in key and "add_emb" not in key]
        recipe = {layer: 8 if layer in ("conv_in", "conv_out") else 1 + index % 4 for index, layer in enumerate(layers)}
        (self.folder / "recipe.json").write_text(json.dumps({"layers": recipe}))

    def test_sdxl(self):
        text = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2,
                "projection_dim": 32}
        self.write_pipeline(lambda module: module.SDXL, {
            "unet": {"addition_time_embed_dim": 8, "attention_head_dim": [2, 2], "block_out_channels": [16, 32],
                     "cross_attention_dim": 64, "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
                     "layers_per_block": 1, "norm_num_groups": 8, "projection_class_embeddings_input_dim": 80,
                     "sample_size": 8, "transformer_layers_per_block": [1, 2],
                     "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]},
            "vae": {"block_out_channels": [32] * 4, "layers_per_block": 1, "sample_size": 64},
            "text_encoder": text, "text_encoder_2": text})
        self.run_program("quantize", "model.h5", "-o", "packed.h5", "-q")
        self.run_program(
            "sample", "packed.h5", "--prompt", "a red circle", "--steps", 3, "--guidance-scale", 5, "--seed", 7,
            "--activations", "fp32", "--save-latents", "latents.safetensors", "-o", "image.png", "-q")
        pipeline = bitsfusion.load_pipeline(self.folder / "packed.h5")
        self.assertEqual(type(pipeline).__name__, "StableDiffusionXLPipeline")
        pipeline.set_progress_bar_config(disable=True)
        latents = pipeline(
            "a red circle", num_inference_steps=3, guidance_scale=5.0, generator=torch.Generator().manual_seed(7),
            output_type="latent").images
        expected = safetensors.torch.load_file(self.folder / "latents.safetensors")["latents"]
        torch.testing.assert_close(latents, expected, atol=1e-4, rtol=0)

    def test_model_of_shapes(self):
        layers = self.shapes_layers()
        (self.folder / "recipe.json").write_text(json.dumps({"layers": {layer: 2 for layer in layers}}))
        self.run_program("quantize", "shapes", "-o", "packed.h5", "-q", "--cached-steps", 25)
        path = self.folder / "packed.h5"
        with self.assertRaisesRegex(bitsfusion.ComponentError, "bitsfusion.load_unet"):
            bitsfusion.load_pipeline(path)
        unet = bitsfusion.load_unet(path)
        generator = torch.Generator().manual_seed(0)
        size, channels = unet.config.sample_size, unet.config.in_channels
        inputs = {
            "sample": torch.randn(2, channels, size, size, generator=generator),
            "timestep": torch.tensor([unet.time_proj.timesteps[3]]),
            "encoder_hidden_states": torch.randn(2, 12, unet.config.cross_attention_dim, generator=generator)}
        safetensors.torch.save_file(inputs, self.folder / "in.safetensors")
        self.run_program("predict", "packed.h5", "--inputs", "in.safetensors", "--activations", "fp32", "-q")
        expected = safetensors.torch.load_file(self.folder / "out.safetensors")["noise_pred"]
        with torch.no_grad():
            torch.testing.assert_close(unet(**inputs).sample, expected, atol=1e-4, rtol=0)

    def shapes_layers(self):
        """The layers of the included model that are quantized."""
        self.run_program("export", "shapes", "--component", "unet", "-o", "unet", "-q")
        (file,) = (self.folder / "unet").glob("*.safetensors")
        with safetensors.torch.safe_open(file, "pt") as tensors:
            weights = [key for key in tensors.keys()
                       if key.endswith(".weight") and len(tensors.get_slice(key).get_shape()) > 1]
        return [key.removesuffix(".weight") for key in weights if "time_emb" not in key]


if __name__ == "__main__":
    unittest.main()
