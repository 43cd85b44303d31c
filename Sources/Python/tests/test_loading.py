# SPDX-License-Identifier: Apache-2.0
"""Models and pipelines of the program's packed files in PyTorch and diffusers."""

import logging
import os
import shutil
import subprocess
import sys
import unittest
import zlib

import numpy as np

import bitsfusion

from . import reference
from .test_packed_file import LAYER, digest

HAS_TORCH, HAS_DIFFUSERS = reference.has("torch"), reference.has("torch", "diffusers", "transformers")
if HAS_TORCH:
    import torch

    from bitsfusion import fields, modules
if HAS_DIFFUSERS:
    # Nothing is downloaded.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.disable(logging.WARNING)
    import diffusers
    from PIL import Image


def packed_module(layer, levels, seed=0):
    """The packed module of a layer of torch.nn with random codes, and a copy of the layer with the dense weight."""
    generator = np.random.default_rng(seed)
    weight = layer.weight.detach()
    codes = generator.integers(0, levels, weight.shape).astype(np.uint16 if levels == 257 else np.uint8)
    scale = generator.uniform(0.01, 0.02, len(weight)).astype(np.float32)
    parts = [torch.from_numpy(part) for part in fields.pack(codes.reshape(len(codes), -1), levels)]
    packed = modules.CLASSES[type(layer)](
        {"shape": weight.shape, "levels": levels, "parts": parts, "scale": torch.from_numpy(scale)}, layer)
    signed = codes.astype(np.float32) - (levels - 1) // 2
    dense = signed * scale.reshape(-1, *[1] * (weight.ndim - 1))
    layer.weight.data = torch.from_numpy(dense)
    return packed, layer


@unittest.skipUnless(HAS_TORCH, "torch is not installed")
class ModuleTests(unittest.TestCase):
    def test_all_levels(self):
        for levels in (3, 5, 9, 17, 33, 65, 129, 255, 257):
            for channels in (1, 3, 8, 20):
                with self.subTest(levels=levels, channels=channels):
                    packed, dense = packed_module(torch.nn.Linear(6, channels), levels)
                    self.assertTrue(torch.equal(packed.weight, dense.weight))
                    x = torch.randn(2, 6)
                    with torch.no_grad():
                        self.assertTrue(torch.equal(packed(x), dense(x)))

    def test_convolution(self):
        layer = torch.nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=1, groups=2)
        packed, dense = packed_module(layer, 5)
        x = torch.randn(2, 4, 9, 9)
        with torch.no_grad():
            self.assertTrue(torch.equal(packed(x), dense(x)))

    def test_embedding(self):
        for levels in (255, 9):
            packed, dense = packed_module(torch.nn.Embedding(30, 5), levels)
            index = torch.tensor([[0, 29, 7], [7, 7, 3]])
            self.assertTrue(torch.equal(packed(index), dense(index)))
            for wrong in (-1, 30):
                with self.assertRaisesRegex(IndexError, "from 0 to 29"):
                    packed(torch.tensor([wrong]))

    def test_16_bits(self):
        packed, dense = packed_module(torch.nn.Linear(16, 24), 129)
        exact = dense.weight.detach().clone()
        for dtype in (torch.float16, torch.bfloat16):
            with self.subTest(dtype=dtype):
                packed.to(dtype)
                self.assertEqual(packed.scale.dtype, torch.float32)
                self.assertTrue(torch.equal(packed.weight, exact.to(dtype)))
                x = torch.randn(3, 16).to(dtype)
                with torch.no_grad():
                    self.assertTrue(torch.equal(packed(x), torch.nn.functional.linear(x, exact.to(dtype), packed.bias)))
        # A move without a type keeps the type.
        packed.to("cpu")
        self.assertEqual(packed.weight.dtype, torch.bfloat16)
        packed.to(torch.float32)
        self.assertTrue(torch.equal(packed.weight, exact))

    def test_large_layers_are_unpacked_in_pieces(self):
        packed, dense = packed_module(torch.nn.Linear(modules.CHUNK // 2, 33), 5)
        self.assertTrue(torch.equal(packed.weight, dense.weight))

    def test_layers_share_the_buffer_only_without_gradients(self):
        first, dense = packed_module(torch.nn.Linear(6, 4), 5)
        second, _ = packed_module(torch.nn.Linear(4, 6), 9, seed=1)
        x = torch.randn(2, 6, requires_grad=True)
        second(first(x)).sum().backward()
        found, x.grad = x.grad, None
        dense_second = torch.nn.functional.linear(dense(x), second.weight, second.bias)
        dense_second.sum().backward()
        self.assertTrue(torch.equal(found, x.grad))
        with torch.no_grad():
            kept = first._temporary_weight(torch.float32)
            second._temporary_weight(torch.float32)
            self.assertEqual(kept.data_ptr(), first._temporary_weight(torch.float32).data_ptr())

    def test_inference_mode(self):
        # Larger than all other layers of the tests, so that inference mode makes the buffer.
        packed, dense = packed_module(torch.nn.Linear(3000, 2000), 5)
        x = torch.randn(1, 3000)
        with torch.inference_mode():
            first = packed(x)
        with torch.no_grad():
            self.assertTrue(torch.equal(packed(x), dense(x)))
            self.assertTrue(torch.equal(first.clone(), dense(x)))

    def test_bytes_in_memory(self):
        for levels, bits in {3: 2, 5: 3, 9: 4, 17: 5, 33: 6, 65: 8, 257: 9}.items():
            packed, _ = packed_module(torch.nn.Linear(40, 16), levels)
            self.assertEqual(packed.packed_bytes(), 40 * 16 * bits // 8 + 16 * 4)


@unittest.skipUnless(HAS_TORCH, "torch is not installed")
class StateTests(unittest.TestCase):
    def test_tensors_equal_those_of_export(self):
        for name in ("entropy", "radix"):
            folder, path, truth = reference.fixture(name)
            with folder:
                for component, expected in truth["components"].items():
                    state = bitsfusion.dequantized_state_dict(path, component)
                    self.assertEqual(state.get(f"{LAYER}.weight", torch.zeros(1)).dtype, torch.float32)
                    self.assertEqual(digest({key: value.numpy() for key, value in state.items()}), expected)
                half = bitsfusion.dequantized_state_dict(path, dtype=torch.float16)
                self.assertEqual({value.dtype for value in half.values()}, {torch.float16})

    def test_unknown_component(self):
        folder, path, _ = reference.fixture("radix")
        with folder, self.assertRaisesRegex(bitsfusion.FormatError, "no component clip, only text_encoder, unet, vae"):
            bitsfusion.dequantized_state_dict(path, "clip")


@unittest.skipUnless(HAS_DIFFUSERS, "diffusers is not installed")
class PipelineTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)

    def open(self, name):
        folder, path, truth = reference.fixture(name)
        self.addCleanup(folder.cleanup)
        return path, truth

    def sample(self, pipeline, truth, **options):
        pipeline.set_progress_bar_config(disable=True)
        return pipeline(
            truth["prompt"], num_inference_steps=truth["steps"], guidance_scale=truth["guidanceScale"],
            generator=torch.Generator("cpu").manual_seed(truth["seed"]), **options).images

    def test_images_equal_those_of_the_program(self):
        for name in ("entropy", "radix"):
            path, truth = self.open(name)
            found = {}
            for dense in (False, True):
                with self.subTest(name=name, dense=dense):
                    pipeline = bitsfusion.load_pipeline(path, dense=dense)
                    self.assertIs(type(pipeline), diffusers.StableDiffusionPipeline)
                    found[dense] = self.sample(pipeline, truth, output_type="latent")
                    expected = torch.tensor(truth["latents"]).reshape(truth["shape"])
                    torch.testing.assert_close(found[dense], expected, atol=1e-4, rtol=0)
                    image = np.asarray(self.sample(pipeline, truth)[0], np.int64)
                    program = np.asarray(Image.open(reference.FOLDER / "fixtures" / f"{name}.png").convert("RGB"))
                    self.assertGreater(program.std(), 1)
                    self.assertLessEqual(np.abs(image - program).max(), 1)
            self.assertTrue(torch.equal(found[False], found[True]))

    def test_weights_stay_packed(self):
        path, _ = self.open("entropy")
        pipeline = bitsfusion.load_pipeline(path)
        self.assertIsInstance(pipeline.unet.get_submodule(LAYER), bitsfusion.PackedLinear)
        self.assertIsInstance(pipeline.unet.conv_in, bitsfusion.PackedConv2d)
        self.assertIsInstance(pipeline.vae.decoder.conv_in, bitsfusion.PackedConv2d)
        self.assertTrue(any(isinstance(module, bitsfusion.PackedEmbedding)
                            for module in pipeline.text_encoder.modules()))
        self.assertGreater(bitsfusion.packed_bytes(pipeline), bitsfusion.packed_bytes(pipeline.unet))
        dense = bitsfusion.load_unet(path, dense=True)
        self.assertEqual(bitsfusion.packed_bytes(dense), 0)
        self.assertIs(type(dense.get_submodule(LAYER)), torch.nn.Linear)
        weights = bitsfusion.dequantized_state_dict(path)
        self.assertTrue(torch.equal(dense.state_dict()[f"{LAYER}.weight"], weights[f"{LAYER}.weight"]))
        self.assertTrue(torch.equal(pipeline.unet.get_submodule(LAYER).weight, weights[f"{LAYER}.weight"]))

    def test_names_are_those_of_diffusers(self):
        path, _ = self.open("radix")
        dense = bitsfusion.load_unet(path, dense=True)
        plain = diffusers.UNet2DConditionModel.from_config(dense.config)
        self.assertEqual(dense.state_dict().keys(), plain.state_dict().keys())
        self.assertEqual(set(bitsfusion.dequantized_state_dict(path)), set(plain.state_dict()))
        plain.load_state_dict(bitsfusion.dequantized_state_dict(path))

    def test_16_bits(self):
        path, truth = self.open("entropy")
        expected = torch.tensor(truth["latents"]).reshape(truth["shape"])
        latents = {}
        for dense in (False, True):
            pipeline = bitsfusion.load_pipeline(path, dtype=torch.bfloat16, dense=dense)
            self.assertEqual(pipeline.unet.dtype, torch.bfloat16)
            latents[dense] = self.sample(pipeline, truth, output_type="latent")
        self.assertEqual(latents[False].dtype, torch.bfloat16)
        self.assertTrue(torch.equal(latents[False], latents[True]))
        self.assertLess((latents[False].float() - expected).std() / expected.std(), 0.1)
        with self.assertRaisesRegex(ValueError, "expected float32, float16 or bfloat16"):
            bitsfusion.load_unet(path, dtype=torch.int8)

    def test_timestep_that_is_not_cached(self):
        path, truth = self.open("entropy")
        pipeline = bitsfusion.load_pipeline(path)
        with self.assertRaisesRegex(bitsfusion.TimestepError, "timestep 801 .* are 1, 251, 501, 751; .* 4 steps"):
            self.sample(pipeline, truth | {"steps": 5})
        with self.assertRaisesRegex(bitsfusion.TimestepError, "timestep 1.5 "):
            pipeline.unet(torch.zeros(1, 4, 8, 8), 1.5, torch.zeros(1, 77, 8))

    def test_time_features_of_several_timesteps(self):
        path, _ = self.open("entropy")
        unet = bitsfusion.load_unet(path)
        x, states = torch.randn(3, 4, 8, 8), torch.randn(3, 77, 8)
        with torch.no_grad():
            together = unet(x, torch.tensor([751, 1, 251]), states).sample
            for row, timestep in enumerate((751, 1, 251)):
                alone = unet(x[row : row + 1], timestep, states[row : row + 1]).sample
                torch.testing.assert_close(together[row : row + 1], alone)

    def test_image_inputs_need_the_encoder(self):
        path, _ = self.open("entropy")
        pipeline = bitsfusion.load_pipeline(path)
        with self.assertRaisesRegex(bitsfusion.ComponentError, "no encoder of the VAE.*--no-vae-encoder"):
            pipeline.vae.encode(torch.zeros(1, 3, 8, 8))
        path, _ = self.open("radix")
        with torch.no_grad():
            bitsfusion.load_pipeline(path).vae.encode(torch.zeros(1, 3, 8, 8))

    def test_components(self):
        path, truth = self.open("radix")
        pipeline = bitsfusion.load_pipeline(path)
        passed = bitsfusion.load_pipeline(
            path, vae=pipeline.vae, scheduler=diffusers.DDIMScheduler.from_config(pipeline.scheduler.config))
        self.assertIs(passed.vae, pipeline.vae)
        self.assertIsInstance(passed.scheduler, diffusers.DDIMScheduler)
        with self.assertRaisesRegex(bitsfusion.ComponentError, "no controlnet; its components are .*text_encoder"):
            bitsfusion.load_pipeline(path, controlnet=None)
        self.remove_component(path, "vae")
        with self.assertRaisesRegex(bitsfusion.ComponentError, "has no vae; pass vae= to load_pipeline"):
            bitsfusion.load_pipeline(path)
        again = bitsfusion.load_pipeline(path, vae=pipeline.vae)
        self.assertTrue(torch.equal(
            self.sample(again, truth, output_type="latent"), self.sample(pipeline, truth, output_type="latent")))

    def test_models_without_a_pipeline(self):
        path, _ = self.open("radix")
        with reference_edit(path) as file:
            file.attrs["tokenizer"] = np.bytes_("shapes-words")
        with self.assertRaisesRegex(bitsfusion.ComponentError, "shapes-words .*bitsfusion.load_unet"):
            bitsfusion.load_pipeline(path)
        self.assertIsInstance(bitsfusion.load_unet(path), diffusers.UNet2DConditionModel)

    def test_missing_and_unknown_parameters(self):
        path, _ = self.open("radix")
        copy = path.with_name("copy.h5")
        shutil.copy(path, copy)
        with reference_edit(path) as file:
            del file["unet/conv_norm_out/bias"]
            correct_checksum(file, "unet")
        with self.assertRaisesRegex(bitsfusion.FormatError, "1 parameters are missing, such as conv_norm_out.bias"):
            bitsfusion.load_unet(path)
        with reference_edit(copy) as file:
            file["unet/conv_norm_out/more"] = np.zeros(3, np.float32)
            correct_checksum(file, "unet")
        with self.assertRaisesRegex(bitsfusion.FormatError, "conv_norm_out.more: the model has no such parameter"):
            bitsfusion.load_unet(copy)

    def test_layers_of_another_config(self):
        path, _ = self.open("radix")
        with reference_edit(path) as file:
            config = file["header/unet"][()].replace(b'"cross_attention_dim": 8', b'"cross_attention_dim": 4')
            del file["header/unet"]
            file["header/unet"] = np.bytes_(config)
            correct_checksum(file, "header")
        with self.assertRaisesRegex(bitsfusion.FormatError, r"layer .*: expected the shape \[8, 4\], found \[8, 8\]"):
            bitsfusion.load_unet(path)

    def test_example(self):
        """Docs/examples/load_packed.py."""
        path, _ = self.open("entropy")
        environment = os.environ | {"PYTHONPATH": str(reference.FOLDER.parent), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, reference.ROOT / "Docs" / "examples" / "load_packed.py", path, "--device", "cpu", "-o",
             path.with_name("image.png")], env=environment, capture_output=True, text=True)
        self.assertIn("largest difference of the noise predictions: 0\n", done.stdout, done.stderr)
        self.assertIn("8x8, 4 steps", done.stdout)
        with Image.open(path.with_name("image.png")) as image:
            self.assertEqual(image.size, (8, 8))

    def remove_component(self, path, name):
        with reference_edit(path) as file:
            del file[name], file[f"header/{name}"]
            if name in file["packed"]:
                del file[f"packed/{name}"]
            correct_checksum(file, "header")


def reference_edit(path):
    import h5py

    return h5py.File(path, "r+")


def correct_checksum(file, group):
    """Writes the checksum of a group after an intended change."""
    import h5py

    found = {}
    file[group].visititems(
        lambda name, item: found.update({name.replace("/", "."): item[()]}) if isinstance(item, h5py.Dataset) else None)
    text = b"".join(key.encode() + zlib.crc32(found[key]).to_bytes(4, "little") for key in sorted(found))
    file[group].attrs["crc32"] = np.int64(zlib.crc32(text))


if __name__ == "__main__":
    unittest.main()
