# SPDX-License-Identifier: Apache-2.0
"""sensitivity.json, recipe.json and the version; needs the standard library only, but for the import of lazy names."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import bitsfusion

from . import reference


class DocumentTests(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name, "document.json")

    def write(self, document):
        self.path.write_text(document if isinstance(document, str) else json.dumps(document))
        return self.path

    def expect(self, read, document, pattern):
        with self.assertRaisesRegex(bitsfusion.FormatError, pattern) as caught:
            read(self.write(document))
        self.assertTrue(str(caught.exception).startswith(f"{self.path}: "))

    def test_sensitivity_of_the_document(self):
        """The example in Docs/Formats.md."""
        text = (reference.ROOT / "Docs" / "Formats.md").read_text()
        section = text.split("\n## sensitivity.json\n")[1].split("\n## ")[0]
        example = re.search(r"```json\n(.*?)```", section, re.DOTALL)[1]
        self.assertEqual(bitsfusion.read_sensitivity(self.write(example)), [
            {"path": "mid_block.resnets.0.conv1", "kind": "conv2d", "role": "searched", "group": "residualConvolution",
             "weights": 82944, "skewness": 0.02, "bits": 1, "mse": 0.01, "psnr": 20.0, "perceptual": 0.4,
             "clipDrop": 0.03, "noise": None, "fisher": None}])

    def test_sensitivity_defaults(self):
        layers = [{"path": "a", "bits": {"1": {"noise": 0.5}, "3": {"mse": 0}}}]
        records = bitsfusion.read_sensitivity(
            self.write({"format": "bitsfusion-sensitivity", "version": 2, "layers": layers}))
        self.assertEqual([(record["bits"], record["noise"], record["mse"]) for record in records], [
            (1, 0.5, None), (3, None, 0)])
        self.assertEqual({(record["role"], record["group"]) for record in records}, {("searched", "other")})

    def test_damaged_sensitivity(self):
        valid = {"format": "bitsfusion-sensitivity", "version": 2}
        read = bitsfusion.read_sensitivity
        self.expect(read, "{", "is not JSON")
        self.expect(read, [], "expected a JSON object")
        self.expect(read, {"layers": []}, "expected bitsfusion-sensitivity, version 2, found None")
        self.expect(read, valid | {"version": 1, "layers": []}, "found bitsfusion-sensitivity, version 1")
        self.expect(read, valid, "layers: is missing")
        self.expect(read, valid | {"layers": [{"bits": {}}]}, "path: is missing")
        self.expect(read, valid | {"layers": [{"path": "a"}]}, "a: bits: is missing")
        self.expect(read, valid | {"layers": [{"path": "a", "bits": {"9": {}}}]}, "expected metrics for 1 to 8 bits")

    def test_recipe(self):
        layers = {"conv_in": 8, "mid_block.resnets.0.conv1": 1, "vae.decoder.conv_in": 8}
        expected = [
            {"path": "conv_in", "bits": 8, "levels": 257, "deadZone": 0.5},
            {"path": "mid_block.resnets.0.conv1", "bits": 1, "levels": 3, "deadZone": 0.7},
            {"path": "vae.decoder.conv_in", "bits": 8, "levels": 255, "deadZone": 0.5}]
        document = {"layers": layers, "deadZones": {"mid_block.resnets.0.conv1": 0.7}}
        self.assertEqual(bitsfusion.read_recipe(self.write(document)), expected)
        document |= {"format": "bitsfusion-recipe", "version": 2}
        self.assertEqual(bitsfusion.read_recipe(self.write(document)), expected)

    def test_shipped_recipe(self):
        records = bitsfusion.read_recipe(reference.ROOT / "Configs" / "recipes" / "sd15-bitsfusion-1.99.json")
        self.assertEqual(len(records), 258)
        self.assertEqual(records[0].keys(), {"path", "bits", "levels", "deadZone"})

    def test_damaged_recipes(self):
        read = bitsfusion.read_recipe
        self.expect(read, {"format": "bitsfusion-recipe", "version": 1, "layers": {}}, "version 2, found .* version 1")
        self.expect(read, {"layers": {"a": 9}}, "a: expected 1 to 8 bits, found 9")
        self.expect(read, {"layers": {"a": True}}, "a: expected 1 to 8 bits, found True")
        self.expect(read, {"layers": {"a": 2}, "deadZones": {"b": 0.7}}, "deadZones: b is not in layers")
        self.expect(read, {"layers": {"a": 2}, "deadZones": {"a": 1}}, "a: expected 0.5 to 1, found 1")
        self.expect(read, '{"layers": {"a": 2, "a": 3}}', "the key a occurs twice")


class PackageTests(unittest.TestCase):
    def test_version_is_that_of_the_program(self):
        source = (reference.ROOT / "Sources" / "App" / "BitsFusion" / "BitsFusion.swift").read_text()
        self.assertEqual(bitsfusion.__version__, re.search(r'let toolVersion = "(.*?)"', source)[1])

    def test_import_needs_no_pytorch(self):
        program = ("import sys; sys.modules['torch'] = sys.modules['diffusers'] = None; import bitsfusion; "
                   "bitsfusion.PackedFile; print('imported')")
        package = str(reference.FOLDER.parent)
        done = subprocess.run([sys.executable, "-c", program], cwd=package, capture_output=True, text=True)
        self.assertEqual(done.stdout, "imported\n", done.stderr)

    def test_unknown_name(self):
        with self.assertRaises(AttributeError):
            bitsfusion.load_everything


if __name__ == "__main__":
    unittest.main()
