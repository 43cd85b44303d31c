# SPDX-License-Identifier: Apache-2.0
"""Packed files of the program, and damaged ones; needs h5py and NumPy only."""

import hashlib
import os
import pathlib
import tempfile
import unittest
import zlib

import h5py
import numpy as np

import bitsfusion
from bitsfusion.packed_file import PackedFile, dequantized

from . import reference

LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
CODES = f"packed/unet/{LAYER.replace('.', '/')}/codes"


def digest(tensors):
    whole = hashlib.sha256()
    for key in sorted(tensors):
        whole.update(key.encode() + np.ascontiguousarray(tensors[key], np.float32).tobytes())
    return {"tensors": len(tensors), "sha256": whole.hexdigest()}


def dense_tensors(file, component):
    layers = file.layers(component)
    weights = file.decode(list(layers.values()), dequantized)
    return file.parameters(component) | {f"{path}.weight": weight for path, weight in zip(layers, weights)}


class ProgramTests(unittest.TestCase):
    def test_tensors_equal_those_of_export(self):
        for name in ("entropy", "radix"):
            folder, path, truth = reference.fixture(name)
            with folder, PackedFile(path) as file:
                self.assertEqual(file.components, ["text_encoder", "unet", "vae"])
                for component, expected in truth["components"].items():
                    with self.subTest(name=name, component=component):
                        self.assertEqual(digest(dense_tensors(file, component)), expected)

    def test_fixtures_have_what_they_test(self):
        encodings, levels, first_bytes = set(), set(), set()
        for name in ("entropy", "radix"):
            folder, path, _ = reference.fixture(name)
            with folder, PackedFile(path) as file:
                for component in file.components:
                    for layer in file.layers(component).values():
                        encodings.add(layer.encoding)
                        levels.add(layer.levels)
                        if layer.encoding == "entropy":
                            first_bytes.add(int(layer.data[0]) & 15)
                self.assertEqual(file.time_features() is None, name == "radix")
        self.assertEqual(encodings, {"entropy", "radix"})
        self.assertEqual(levels, {3, 5, 9, 17, 33, 65, 129, 255, 257})
        self.assertLessEqual({0, 1}, first_bytes)

    def test_dead_zones_make_more_zeros(self):
        folder, path, _ = reference.fixture("radix")
        with folder, PackedFile(path) as file:
            layers = [layer for layer in file.layers("unet").values() if layer.levels == 3]
            layers.sort(key=lambda layer: layer.path)
            shares = dict(zip(
                (layer.path for layer in layers), file.decode(layers, lambda _, codes: float((codes == 1).mean()))))
        # The recipe gives the first layer with three levels a dead zone of 0.7.
        widest = max(shares, key=shares.get)
        self.assertGreater(shares[widest], 0.45)
        self.assertLess(sorted(shares.values())[-2], shares[widest])

    def test_time_features(self):
        folder, path, _ = reference.fixture("entropy")
        with folder, PackedFile(path) as file:
            timesteps, tables = file.time_features()
        self.assertEqual(sorted(timesteps), [1, 251, 501, 751])
        self.assertIn("mid_block.resnets.0", tables)
        self.assertEqual(tables["mid_block.resnets.0"].shape, (4, 8))

    def test_tokenizer_files(self):
        folder, path, _ = reference.fixture("radix")
        with folder, PackedFile(path) as file:
            self.assertEqual(sorted(file.tokenizer_files("tokenizer")), [
                "merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"])
            self.assertEqual(file.tokenizer_files("tokenizer_2"), {})
            self.assertTrue(file.tokenizer_files("tokenizer")["merges.txt"].startswith(b"#version: 0.2\nr e\n"))

    def test_layers_are_decoded_once(self):
        folder, path, _ = reference.fixture("radix")
        with folder, PackedFile(path) as file:
            layer = file.layers("unet")[LAYER]
            file.decode([layer], lambda *_: None)
            with self.assertRaisesRegex(ValueError, "decoded before"):
                file.decode([layer], lambda *_: None)


class DamageTests(unittest.TestCase):
    """Every damaged file is a FormatError of one line that begins with the file."""

    def setUp(self):
        self.folder, self.path, _ = reference.fixture("radix")
        self.addCleanup(self.folder.cleanup)

    def read(self):
        with PackedFile(self.path) as file:
            file.tokenizer_files("tokenizer")
            file.time_features()
            for component in file.components:
                dense_tensors(file, component)

    def expect(self, pattern):
        with self.assertRaisesRegex(bitsfusion.FormatError, pattern) as caught:
            self.read()
        text = str(caught.exception)
        self.assertTrue(text.startswith(f"{self.path}: "), text)
        self.assertNotIn("\n", text)

    def edit(self):
        return h5py.File(self.path, "r+")

    def set_layer(self, name=None, value=None, data=None, scale=None):
        """Changes an attribute, the codes or the scales of a layer, and corrects the checksum."""
        with self.edit() as file:
            codes, scales = file[CODES], file[CODES.replace("codes", "scale")]
            if name:
                codes.attrs[name] = value
            if data is not None:
                codes[...] = data
            if scale is not None:
                scales[...] = scale
            codes.attrs["crc32"] = zlib.crc32(scales[()], zlib.crc32(codes[()]))

    def test_undamaged(self):
        self.read()
        self.set_layer()
        self.read()

    def test_format(self):
        with self.edit() as file:
            file.attrs["format"] = np.bytes_("bitsfusion-student")
        self.expect("expected the format bitsfusion-packed, found bitsfusion-student; make a packed file")

    def test_version(self):
        with self.edit() as file:
            file.attrs["format_version"] = np.int64(3)
        self.expect("expected the format version 2, found 3")

    def test_missing_attribute(self):
        with self.edit() as file:
            del file.attrs["format"]
        self.expect("the attribute format is missing")

    def test_not_hdf5(self):
        self.path.write_bytes(b"text")
        self.expect("not an HDF5 file")

    def test_missing_file(self):
        os.remove(self.path)
        with self.assertRaises(FileNotFoundError):
            self.read()

    def test_checksum_of_codes(self):
        with self.edit() as file:
            codes = file[CODES]
            codes[0] = codes[0] ^ 1
        self.expect(f"packed layer {LAYER}: expected the checksum .*; the file is damaged")

    def test_checksums_of_groups(self):
        changes = {
            "header": lambda file: file["header/unet"],
            "tokenizers": lambda file: file["tokenizers/tokenizer/merges.txt"],
            "vae": lambda file: file["vae/decoder/conv_in/bias"]}
        for group, dataset in changes.items():
            with self.subTest(group):
                self.setUp()
                with self.edit() as file:
                    found = dataset(file)
                    found[()] = found[()].replace(b"e", b"f") if group != "vae" else found[()] + 1
                self.expect(f"/{group}: expected the checksum")

    def test_unknown_group(self):
        with self.edit() as file:
            file.create_group("more")
        self.expect("/more: is a group that packed files do not have")

    def test_levels(self):
        self.set_layer("levels", np.int64(4))
        self.expect(f"packed layer {LAYER}: 4 levels do not match")

    def test_encoding(self):
        self.set_layer("encoding", np.bytes_("zip"))
        self.expect("unknown encoding zip")

    def test_shape(self):
        self.set_layer("shape", np.array([8, 9], np.int64))
        self.expect(f"packed layer {LAYER}: expected .* bytes for 72 codes")

    def test_shape_of_another_rank(self):
        self.set_layer("shape", np.array([8, 8, 1], np.int64))
        self.expect("expected the shape of a weight")

    def test_scales(self):
        for scale in (0, -1, np.nan, np.inf):
            with self.subTest(scale=scale):
                self.set_layer(scale=scale)
                self.expect("expected finite scales above 0")

    def test_codes_out_of_range(self):
        self.set_layer(data=255)
        self.expect(f"packed layer {LAYER}: .*; the file is damaged")

    def test_not_finite(self):
        with self.edit() as file:
            file["unet/conv_in/bias"][0] = np.nan
        self.expect("/unet/conv_in/bias: contains NaN or infinity")

    def test_flipped_bits(self):
        """Every flipped bit is a FormatError: checksums protect all values, HDF5's own ones the structure."""
        data, generator = self.path.read_bytes(), np.random.default_rng(0)
        for bit in generator.integers(0, 8 * len(data), 40):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            self.path.write_bytes(damaged)
            with self.subTest(bit=int(bit)):
                self.expect("")

    def test_cut_off_file(self):
        data = self.path.read_bytes()
        for size in (100, 2000, len(data) // 2, len(data) - 1):
            self.path.write_bytes(data[:size])
            with self.subTest(size=size):
                self.expect("the file is damaged")

    def test_bfloat16_parameters(self):
        values = np.array([1.5, -0.25, 2**-20, 3], np.float32)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "small.h5")
            with h5py.File(path, "w") as file:
                file.attrs["format"], file.attrs["format_version"] = np.bytes_("bitsfusion-packed"), np.int64(2)
                file.attrs["architecture"] = np.bytes_("UNet2DConditionModel")
                file.attrs["component"] = np.bytes_("unet")
                file["header/unet"] = np.bytes_("{}")
                file["unet/a/weight"] = (values.view(np.uint32) >> 16).astype(np.uint16)
                file["unet/a/weight"].attrs["dtype"] = np.bytes_("bfloat16")
                for group, key, data in (("header", b"unet", b"{}"), ("unet", b"a.weight", file["unet/a/weight"][()])):
                    file[group].attrs["crc32"] = zlib.crc32(key + zlib.crc32(data).to_bytes(4, "little"))
            with PackedFile(path) as file:
                np.testing.assert_array_equal(file.parameters("unet")["a.weight"], values)


if __name__ == "__main__":
    unittest.main()
