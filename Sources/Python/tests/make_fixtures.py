#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the packed files of the tests with the program, and what the program computes from them.

    Sources/Python/tests/make_fixtures.py --program .build/release/bitsfusion

Writes to `fixtures`: NAME.h5.xz, packed pipelines with few channels; NAME.json, the SHA-256 of the dense tensors that
`bitsfusion export --dtype float32` writes, and the latents that `bitsfusion sample` computes; NAME.png, its image.
Needs NumPy only.
"""

import argparse
import hashlib
import json
import lzma
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import clip_vocabulary  # noqa: E402
import make_random_pipeline as random_pipeline  # noqa: E402

MERGES = [("r", "e"), ("re", "d</w>"), ("c", "i"), ("ci", "r"), ("cir", "c"), ("l", "e</w>"), ("circ", "le</w>")]
PROMPT, SEED, STEPS, GUIDANCE = "a red circle", 3, 4, 5.0
TINY = random_pipeline.TINY
SMALL = {
    **TINY,
    "unet": {**TINY["unet"], "block_out_channels": [8], "cross_attention_dim": 8, "norm_num_groups": 2,
             "down_block_types": ["CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D"]},
    "vae": {**TINY["vae"], "block_out_channels": [4], "down_block_types": ["DownEncoderBlock2D"], "norm_num_groups": 2,
            "sample_size": 8, "up_block_types": ["UpDecoderBlock2D"]},
    "text_encoder": {**TINY["text_encoder"], "bos_token_id": 519, "eos_token_id": 520, "hidden_size": 8,
                     "intermediate_size": 16, "num_hidden_layers": 1, "projection_dim": 8,
                     "vocab_size": 2 * 256 + len(MERGES) + 2}}

# Options of `quantize` by the name of the file.
FILES = {
    "entropy": ["--encoding", "entropy", "--cached-steps", str(STEPS), "--no-vae-encoder"],
    "radix": ["--encoding", "radix", "--cached-steps", "0", "--scales", "float16", "--components-bits", "none"]}


def recipe(folder):
    """All bits; the first layers of each bit width have a dead zone."""
    shapes = random_pipeline.SHAPES["unet"](SMALL["unet"])
    layers = [key.removesuffix(".weight") for key, shape in shapes.items()
              if key.endswith(".weight") and len(shape) > 1 and "time_emb" not in key]
    bits = {layer: 8 if layer in ("conv_in", "conv_out") else 1 + index % 8 for index, layer in enumerate(layers)}
    document = {"layers": bits, "deadZones": {layer: 0.7 for layer in layers[1:10]}}
    path = folder / "recipe.json"
    path.write_text(json.dumps(document))
    return path


def read_safetensors(path):
    """The float32 tensors of a file."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    for key, entry in json.loads(data[8 : 8 + size]).items():
        if key != "__metadata__":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            assert entry["dtype"] == "F32", key
            yield key, np.frombuffer(data[begin:end], np.float32).reshape(entry["shape"])


def digests(folder, arguments):
    """For each component, the SHA-256 of all exported tensors that the packed file has: keys and values, by key."""
    result = {}
    for component in ("unet", "text_encoder", "vae"):
        (file,) = (folder / component).glob("*.safetensors")
        tensors = {key: tensor for key, tensor in sorted(read_safetensors(file))
                   if not ("time_emb" in key and "0" not in arguments
                           or component == "vae" and "--no-vae-encoder" in arguments
                           and key.startswith(("encoder.", "quant_conv.")))}
        whole = hashlib.sha256()
        for key, tensor in tensors.items():
            whole.update(key.encode() + tensor.tobytes())
        result[component] = {"tensors": len(tensors), "sha256": whole.hexdigest()}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / ".build/release/bitsfusion", type=pathlib.Path)
    program = parser.parse_args().program.resolve()
    output = FOLDER / "fixtures"
    output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)

        def run(*arguments):
            # In the folder, so that manifests name files without it.
            subprocess.run([program, *map(str, arguments)], check=True, cwd=folder, stdout=subprocess.DEVNULL)

        clip_vocabulary.read_merges = lambda _: MERGES
        options = argparse.Namespace(seed=0, dtype="float16", merges=None)
        random_pipeline.write_folder(options, SMALL, folder / "model")
        run("import", "model", "-o", "model.h5", "-q")
        recipe(folder)
        for name, arguments in FILES.items():
            packed = f"{name}.h5"
            run("quantize", "model.h5", "--recipe", "recipe.json", *arguments, "-o", packed, "-q", "--threads", 1)
            run("export", packed, "--dtype", "float32", "-o", name, "-q")
            run("sample", packed, "--prompt", PROMPT, "--seed", SEED, "--steps", STEPS, "--guidance-scale", GUIDANCE,
                "--activations", "fp32", "--save-latents", "latents.safetensors", "-o", f"{name}.png", "-q")
            latents = dict(read_safetensors(folder / "latents.safetensors"))["latents"]
            truth = {
                "prompt": PROMPT, "seed": SEED, "steps": STEPS, "guidanceScale": GUIDANCE,
                "components": digests(folder / name, arguments), "shape": latents.shape,
                "latents": [float(f"{value:.9g}") for value in latents.ravel()]}
            (output / f"{name}.json").write_text(json.dumps(truth) + "\n")
            (output / f"{name}.h5.xz").write_bytes(lzma.compress((folder / packed).read_bytes(), preset=9))
            (output / f"{name}.png").write_bytes((folder / f"{name}.png").read_bytes())
    for path in sorted(output.iterdir()):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
