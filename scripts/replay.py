#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a fixed corpus of commands and compares what they compute with recorded digests, bit for bit.

    scripts/replay.py --program .build/release/bitsfusion             compare
    scripts/replay.py --program .build/release/bitsfusion --record    replace the digests of this kernel set
    scripts/replay.py --program .build/release/bitsfusion --keep DIR  keep all files, and what each digest is made of
    scripts/replay.py ... --entries DIR/entries.json                  name what differs from a kept run

A digest is over the content of a result: shapes, types and values of tensors, numbers of documents, pixels. Layout,
manifests, versions and sizes of files do not count. Tensors of the UNet are named by their parameter; those of text
encoders and of the CLIP-proxy are not, so that their parameters may be renamed. Numbers of JSON documents are named by
layer and width, not by key.

Floating-point results depend on the kernels, so Tests/Replay/digests.json holds one set of digests per kernel set
(BITSFUSION_KERNELS, default: the widest that the processor has). They also depend on OpenBLAS and libm, whose versions
are recorded beside them. Takes Python 3.9, h5py and NumPy (scripts/setup.sh --tests).
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import platform
import re
import struct
import subprocess
import sys
import tempfile
import time
from typing import Callable, Dict, List, Optional

import h5py
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIGESTS = ROOT / "Tests" / "Replay" / "digests.json"
CONFIGS = ROOT / "Configs"
SETTINGS = ROOT / "Tests" / "Replay"
FIXTURES = ROOT / "Tests" / "NetworksTests" / "Fixtures"
sys.path.insert(0, str(ROOT / "Tests" / "Fixtures"))
sys.dont_write_bytecode = True

from contents import (  # noqa: E402
    digest, read_checkpoint, read_curve, read_folder, read_information, read_png, read_recipe, read_safetensors,
    read_scores, read_sensitivity, read_verification, safetensors, steps_done)
from fixture_values import parameter, unit  # noqa: E402

# ---------------------------------------------------------------------------------------------------------------------
# Commands: the corpus as one table. An option that is renamed is renamed here.
# ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Step:
    """One run of the program, in the folder of the corpus."""

    name: str
    command: List[str]
    # Files that the command writes, each with its reader; "-" is standard output.
    results: Dict[str, Callable] = dataclasses.field(default_factory=dict)
    # Makes files that the command reads.
    before: Optional[Callable] = None
    # The run is killed when this many steps lie in the first file of `results`, so that it holds a run to continue.
    stop_at: Optional[int] = None


UNETS = [
    "asymmetric", "odd-size", "pixels", "projected-context", "sd1", "sd2", "sdxl", "unconditional",
]
PROMPTS = ["--prompt", "a red circle left of a blue square", "--prompt", "three green crosses"]
FEW = ["--steps", "6"]


def corpus():
    """All steps, in order; later ones read what earlier ones wrote."""
    steps = []

    def add(name, command, results=None, **rest):
        steps.append(Step(name, command.split() if isinstance(command, str) else command, results or {}, **rest))

    # Every architecture of the tests: a random model, the weights of the fixture as a diffusers folder, a prediction.
    for name in UNETS:
        add(f"{name} init", f"init --config {name}.json --seed 7 -o random.h5", {"random.h5": read_checkpoint},
            before=lambda name=name: write_fixture_config(name))
        add(f"{name} export", f"export random.h5 -o {name}", {name: read_folder})
        add(f"{name} import", f"import {name} -o {name}.h5", {f"{name}.h5": read_checkpoint},
            before=lambda name=name: write_fixture_weights(name))
        add(f"{name} predict", f"predict {name}.h5 --inputs {name}.in.safetensors -o {name}.out.safetensors",
            {f"{name}.out.safetensors": read_safetensors}, before=lambda name=name: write_fixture_inputs(name))
    add("half import", "import sd1 --dtype bfloat16 -o half.h5", {"half.h5": read_checkpoint})
    add("half predict", "predict half.h5 --inputs sd1.in.safetensors -o half.safetensors",
        {"half.safetensors": read_safetensors})

    # The shipped model in full precision.
    add("shapes predict", "predict shapes --inputs shapes.in.safetensors -o shapes.out.safetensors",
        {"shapes.out.safetensors": read_safetensors}, before=write_shapes_inputs)
    add("shapes export", "export shapes -o shapes-folder", {"shapes-folder": read_folder})
    add("shapes import", "import shapes-folder -o shapes-again.h5", {"shapes-again.h5": read_checkpoint})
    for sampler in ["ddim", "pndm", "dpm++"]:
        add(f"shapes sample {sampler}",
            ["sample", "shapes", *PROMPTS, *FEW, "--sampler", sampler, "--columns", "2", "-o", f"{sampler}.png"],
            {f"{sampler}.png": read_png})
    add("shapes sample without guidance",
        ["sample", "shapes", *PROMPTS, *FEW, "--guidance-scale", "1", "--seed", "5", "--batch-size", "3",
         "-o", "one.png"], {"one.png": read_png})

    # Analysis and allocation.
    add("analyze", "analyze shapes --num-prompts 1 --steps 2 --timesteps 2 --measure images,noise,fisher",
        {"sensitivity.json": read_sensitivity})
    add("analyze with training",
        "analyze shapes --num-prompts 2 --steps 2 --timesteps 2 --measure images,noise --qat-steps 3 --bits 1,3 "
        "--sampler ddim --layers mid_block.*(attn2|conv1) -o trained.json", {"trained.json": read_sensitivity})
    for shard in ["1", "2"]:
        add(f"analyze shard {shard}",
            f"analyze shapes --num-prompts 1 --timesteps 1 --measure noise --bits 2 --seed 3 --shard {shard}/2 "
            f"-o {shard}.json", {f"{shard}.json": read_sensitivity})
    add("merge", "merge 1.json 2.json -o merged.json", {"merged.json": read_sensitivity})
    for name, options in {
        "optimal noise": "--avg-bits 1.99", "optimal mse": "--avg-bits 2.4 --metric mse --max-bits 6",
        "optimal fisher": "--avg-bits 3.1 --metric fisher", "optimal mse+clip": "--avg-bits 1.9 --metric mse+clip",
        "optimal pinned": "--avg-bits 2.2 --pin attn2=4 --pin conv_shortcut=5 --cached-steps 20",
        "threshold": "--avg-bits 1.99 --method threshold", "least PSNR": "--min-psnr 20",
        "threshold noise": "--avg-bits 2.6 --method threshold --metric noise --eta 0.2 --no-clip-bonus",
        "entropy noise": "--avg-bits 1.6 --method entropy", "entropy PSNR": "--min-psnr 20 --method entropy",
    }.items():
        file = "recipe.json" if name == "optimal noise" else name.replace(" ", "-") + ".recipe.json"
        add(f"allocate {name}", f"allocate sensitivity.json {options} -o {file}", {file: read_recipe})
    add("allocate curve", "allocate sensitivity.json --avg-bits 2 --curve curve.json -o curve.recipe.json",
        {"curve.json": read_curve})
    add("allocate verified", "allocate sensitivity.json --avg-bits 2 --verify-top 2 --model shapes -o verified.json",
        {"verified.json": read_recipe})

    # Post-training quantization in every encoding; the default one also exported, imported and run.
    for name, options in {
        "radix": "--encoding radix", "fixed": "--encoding fixed", "entropy": "--encoding entropy",
        "half scales": "--encoding radix --scales float16", "min-max": "--init min-max --cached-steps 0",
        "ddim": "--cached-steps 6 --sampler ddim", "pndm": "--cached-steps 6 --sampler pndm",
        "dpm++": "--cached-steps 6 --sampler dpm++",
    }.items():
        file = name.replace(" ", "-") + ".packed.h5"
        add(f"quantize {name}", f"quantize shapes --recipe recipe.json {options} -o {file}", {file: read_checkpoint})
    add("quantize dead zones", "quantize shapes --recipe entropy-noise.recipe.json -o dead-zones.packed.h5",
        {"dead-zones.packed.h5": read_checkpoint})
    for name in ["radix", "fixed", "entropy", "half-scales", "min-max"]:
        for activations in ["int8", "fp32"]:
            add(f"packed predict {name} {activations}",
                f"predict {name}.packed.h5 --inputs shapes.in.safetensors --activations {activations} -o p.safetensors",
                {"p.safetensors": read_safetensors})
        add(f"packed export {name}", f"export {name}.packed.h5 --original shapes -o {name}-folder",
            {f"{name}-folder": read_folder})
    for sampler in ["ddim", "pndm", "dpm++"]:
        for activations in ["int8", "fp32"]:
            add(f"packed sample {sampler} {activations}",
                ["sample", f"{sampler}.packed.h5", *PROMPTS, *FEW, "--sampler", sampler, "--activations", activations,
                 "--columns", "2", "-o", "packed.png"], {"packed.png": read_png})
    add("packed import", "import entropy-folder -o dequantized.h5", {"dequantized.h5": read_checkpoint})
    add("packed import predict", "predict dequantized.h5 --inputs shapes.in.safetensors -o dequantized.safetensors",
        {"dequantized.safetensors": read_safetensors})

    # Distillation of the shipped model, stopped, continued and packed.
    distill = "--config distill.yaml --steps 28"
    stage1 = f"distill --stage 1 --model shapes --recipe recipe.json {distill}"
    stage2 = f"distill --stage 2 --student stage1.h5 {distill}"
    add("stage 1, 20 steps", stage1, {"stage1.h5": read_checkpoint}, stop_at=20,
        before=lambda: write_config(SETTINGS / "distill-shapes.yaml", "distill.yaml", saveEvery=20))
    add("stage 1", stage1 + " --resume", {"stage1.h5": read_checkpoint})
    add("stage 2, 20 steps", stage2, {"stage2.h5": read_checkpoint}, stop_at=20)
    add("stage 2", stage2 + " --resume", {"stage2.h5": read_checkpoint})
    add("stage 2 predict", "predict stage2.h5 --inputs shapes.in.safetensors -o stage2.safetensors",
        {"stage2.safetensors": read_safetensors})
    add("stage 2 sample",
        ["sample", "stage2.h5", *PROMPTS, *FEW, "--sampler", "ddim", "--columns", "2", "-o", "stage2.png"],
        {"stage2.png": read_png})
    add("stage 2 pack", "pack stage2.h5 --cached-steps 6 --sampler ddim -o packed.h5", {"packed.h5": read_checkpoint})
    add("stage 2 verify", "verify stage2.h5 packed.h5 --json", {"-": read_verification})
    for activations in ["int8", "fp32"]:
        add(f"stage 2 packed sample {activations}",
            ["sample", "packed.h5", *PROMPTS, *FEW, "--sampler", "ddim", "--activations", activations, "--columns", "2",
             "-o", "packed.png"], {"packed.png": read_png})
    add("stage 2 export", "export stage2.h5 -o stage2-folder", {"stage2-folder": read_folder})
    add("stage 2 packed export", "export packed.h5 --original stage2.h5 -o packed-folder",
        {"packed-folder": read_folder})
    add("evaluate", "evaluate shapes stage2.h5 packed.h5 --prompts-per-family 1 --steps 6 --sampler ddim --json",
        {"-": read_scores})
    add("evaluate fp32", "evaluate packed.h5 --reference shapes --prompts-per-family 1 --steps 6 --sampler ddim "
        "--activations fp32 --json", {"-": read_scores})

    # Training from random weights, and from the shipped ones.
    teacher = "train --config shapes.yaml --steps 13 -o teacher.h5"
    proxy = "train --config clip.yaml --steps 14 -o clip.h5"
    add("train, 5 steps", teacher, {"teacher.h5": read_checkpoint}, stop_at=5,
        before=lambda: write_config("shapes.yaml", "shapes.yaml", saveEvery=5))
    add("train", teacher + " --resume", {"teacher.h5": read_checkpoint})
    add("train on", "train --config train-on.yaml --from shapes --steps 4 --dtype float16 -o on.h5",
        {"on.h5": read_checkpoint}, before=lambda: write_config("shapes-2.yaml", "train-on.yaml"))
    add("train clip-proxy, 5 steps", proxy, {"clip.h5": read_checkpoint}, stop_at=5,
        before=lambda: write_config("clip-proxy.yaml", "clip.yaml", saveEvery=5))
    add("train clip-proxy", proxy + " --resume", {"clip.h5": read_checkpoint})
    add("evaluate with the new clip-proxy", "evaluate shapes --clip clip.h5 --prompts-per-family 1 --steps 4 --json",
        {"-": read_scores})

    # A latent model with embeddings and stored data; moments and teacher in bfloat16.
    latent = "--config latent.yaml --data set.h5 --steps 4"
    add("latent analyze", "analyze sd1.h5 --embeddings e.safetensors --steps 2 --timesteps 2 "
        "--measure images,noise,fisher --bits 1,2 -o latent.json", {"latent.json": read_sensitivity},
        before=write_embeddings)
    add("latent allocate", "allocate latent.json --avg-bits 5 -o latent.recipe.json",
        {"latent.recipe.json": read_recipe})
    add("latent stage 1", f"distill --stage 1 --model sd1.h5 --recipe latent.recipe.json {latent} -o latent1.h5",
        {"latent1.h5": read_checkpoint}, before=write_latent_set)
    add("latent stage 2", f"distill --stage 2 --student latent1.h5 {latent} -o latent2.h5",
        {"latent2.h5": read_checkpoint})
    add("latent pack", "pack latent2.h5 -o latent-packed.h5 --cached-steps 10 --sampler dpm++",
        {"latent-packed.h5": read_checkpoint})
    for model in ["sd1", "latent2", "latent-packed"]:
        add(f"{model} sample", f"sample {model}.h5 --embeddings e.safetensors --steps 10 --sampler dpm++ --rng philox "
            f"--columns 2 -o {model}.png", {f"{model}.safetensors": read_safetensors})

    # Stable Diffusion 1.5 at a fifth of its width, which has other kernels' sizes; and its size by the paper's recipe.
    add("narrow init", "init --config narrow.json --seed 3 --dtype float16 -o narrow.h5",
        {"narrow.h5": read_checkpoint}, before=write_narrow_model)
    add("narrow predict", "predict narrow.h5 --inputs narrow.in.safetensors -o narrow.safetensors",
        {"narrow.safetensors": read_safetensors})
    add("narrow quantize", "quantize narrow.h5 --recipe sd15.json -o narrow-packed.h5",
        {"narrow-packed.h5": read_checkpoint})
    for activations in ["int8", "fp32"]:
        add(f"narrow packed predict {activations}",
            f"predict narrow-packed.h5 --inputs narrow.in.safetensors --activations {activations} -o n.safetensors",
            {"n.safetensors": read_safetensors})
    add("sd15 info", f"info {CONFIGS}/unet-sd15.json --recipe sd15.json --json", {"-": read_information})
    return steps


# ---------------------------------------------------------------------------------------------------------------------
# Writers: what the commands read.
# ---------------------------------------------------------------------------------------------------------------------


def write_safetensors(path, tensors):
    """float32 tensors by name."""
    header, at = {}, 0
    for key, value in tensors.items():
        header[key] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + 4 * value.size]}
        at += 4 * value.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in tensors.values():
            file.write(np.ascontiguousarray(value, dtype="<f4").tobytes())


def fixture(name):
    return json.loads((FIXTURES / f"unet-{name}.json").read_text())


def write_fixture_config(name):
    pathlib.Path(f"{name}.json").write_text(json.dumps(fixture(name)["config"]))


def write_fixture_weights(name):
    """Gives the exported random model the weights of the fixture; the keys and shapes are the export's."""
    (path,) = pathlib.Path(name).glob("*.safetensors")
    write_safetensors(path, {key: parameter(key, value.shape) for key, value in safetensors(path).items()})


def write_fixture_inputs(name):
    values = fixture(name)
    config, batch = values["config"], len(values["timesteps"])
    inputs = {"sample": unit("sample", values["sampleShape"]), "timestep": np.array(values["timesteps"], np.float32)}
    if values["context"]:
        inputs["encoder_hidden_states"] = unit("context", (batch, *values["context"]))
    if config.get("addition_embed_type"):
        width = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        inputs["text_embeds"] = unit("text", (batch, width))
        inputs["time_ids"] = np.array([[512, 768, 0, 16, 1024, 1024]] * batch, np.float32)
    write_safetensors(f"{name}.in.safetensors", inputs)


def write_inputs(path, sample, timesteps, context):
    write_safetensors(path, {
        "sample": unit("replay.sample", (len(timesteps), *sample)), "timestep": np.array(timesteps, np.float32),
        "encoder_hidden_states": unit("replay.context", (len(timesteps), *context))})


def write_shapes_inputs():
    # 19 and 979 are cached by files that were packed for 50 steps.
    write_inputs("shapes.in.safetensors", (3, 32, 32), [979, 19], (12, 64))


def write_narrow_model():
    config = json.loads((CONFIGS / "unet-sd15.json").read_text())
    config["block_out_channels"] = [width // 5 for width in config["block_out_channels"]]
    pathlib.Path("narrow.json").write_text(json.dumps(config))
    write_inputs("narrow.in.safetensors", (4, 16, 16), [501], (77, 768))
    pathlib.Path("sd15.json").write_text((CONFIGS / "recipes" / "sd15-bitsfusion-1.99.json").read_text())


def write_embeddings():
    write_safetensors("e.safetensors", {
        "encoder_hidden_states": unit("replay.prompts", (2, 5, 12)),
        "negative_encoder_hidden_states": unit("replay.empty", (1, 5, 12))})


def write_latent_set():
    with h5py.File("set.h5", "w") as file:
        file["latents"] = unit("replay.latents", (6, 4, 8, 8))
        file["encoder_hidden_states"] = unit("replay.texts", (6, 5, 12))
        file["empty_hidden_states"] = unit("replay.empty", (1, 5, 12))
    write_config(SETTINGS / "distill-latent.yaml", "latent.yaml", batchSize=6, microBatchSize=2)


def write_config(source, name, **values):
    """A configuration of the repository, by name or path, with other numbers."""
    text = (CONFIGS / source).read_text().replace("unet-shapes.json", str(CONFIGS / "unet-shapes.json"))
    for key, value in values.items():
        text, count = re.subn(rf"\b{key}: \d+", f"{key}: {value}", text)
        if count == 0:
            raise ValueError(f"{source} has no {key}")
    pathlib.Path(name).write_text(text)


# ---------------------------------------------------------------------------------------------------------------------
# Running and comparing.
# ---------------------------------------------------------------------------------------------------------------------

# One processor's OpenBLAS for all of a kernel set, so that its digests hold on other processors too.
CORE_OF_KERNELS = {"avx512": "SkylakeX", "avx2": "Haswell", "portable": "Haswell"}
THREADS = "2"


class Failure(Exception):
    """What ends the replay, or a step of it; the text is for people."""


def kernel_set():
    """The name of the kernels that the program will choose, as dispatch.c and integer_dispatch.c do."""
    try:
        flags = set(re.search(r"^flags\s*:(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M).group(1).split())
    except (OSError, AttributeError):
        flags = set()
    available = ["portable"]
    if {"avx2", "fma", "bmi2"} <= flags:
        available.append("avx2")
        if {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"} <= flags:
            available.append("avx512")
    wish = os.environ.get("BITSFUSION_KERNELS", available[-1])
    if wish not in available:
        raise Failure(f"BITSFUSION_KERNELS={wish}: this processor has {', '.join(available)}")
    x86 = platform.machine() in ("x86_64", "AMD64")
    return wish, wish if x86 else f"{wish}-{platform.machine()}"


def environment(kernels, threads):
    result = {key: value for key, value in os.environ.items() if not key.startswith(("BITSFUSION_", "OPENBLAS_"))}
    result.update(BITSFUSION_KERNELS=kernels, BITSFUSION_THREADS=threads)
    if platform.machine() in ("x86_64", "AMD64"):
        result["OPENBLAS_CORETYPE"] = CORE_OF_KERNELS[kernels]
    return result


def libraries(program):
    """What else decides how results round."""
    try:
        listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    except OSError:
        listing = ""
    blas = re.search(r"libopenblas\S* => (\S+)", listing)
    name = os.path.basename(os.path.realpath(blas.group(1))) if blas else ""
    return {"libc": " ".join(platform.libc_ver()), "openblas": name}


def run(step, program, variables):
    """Runs one step in the current folder and returns {part: entries} of its results."""
    if step.before:
        step.before()
    with open("stdout", "w+") as output, open("stderr", "w+") as errors:
        process = subprocess.Popen([program, *step.command], stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                                   env=variables)
        if step.stop_at is not None:
            saved = pathlib.Path(next(iter(step.results)))
            while process.poll() is None and not saved.exists():
                time.sleep(0.005)
            process.kill()
        status = process.wait()
        for file in (output, errors):
            file.seek(0)
        text, complaint = output.read(), errors.read().strip().split("\n")[-1]
    if step.stop_at is not None and os.path.exists(next(iter(step.results))):
        done = steps_done(next(iter(step.results)))
        if done != step.stop_at:
            raise Failure(f"was stopped too late: {done} steps are saved, not {step.stop_at}; run it again")
    elif status != 0:
        raise Failure(f"status {status}: {complaint}")
    return {part: entries for file, reader in step.results.items()
            for part, entries in reader(text if file == "-" else file).items()}


def print_differences(entries, reference, limit=5):
    """The first entries that only one of two runs has."""
    found, known = (collections.Counter(map(tuple, some)) for some in (entries, reference))
    for sign, rest in (("-", known - found), ("+", found - known)):
        for label, value in sorted(rest)[:limit]:
            print(f"         {sign} {label} {value}")
        if len(rest) > limit:
            print(f"         {sign} ... {len(rest)} of {len(entries if sign == '+' else reference)}")


def replay(program, variables, report):
    """Runs the corpus in the current folder. Returns ({item: entries}, [what failed])."""
    items, failures = {}, []
    for step in corpus():
        try:
            found = run(step, program, variables)
        except Exception as error:  # A renamed option or key must not hide what the other steps say.
            failures.append(step.name)
            print(f"failed   {step.name}: {error if isinstance(error, Failure) else repr(error)}", flush=True)
            continue
        for part, entries in found.items():
            items[f"{step.name}: {part}"] = sorted(entries)
            report(f"{step.name}: {part}", entries)
    return items, failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True, help="the program to run")
    parser.add_argument("--record", action="store_true", help="replace the recorded digests of this kernel set")
    parser.add_argument("--keep", metavar="DIR", help="work in this new folder and keep it")
    parser.add_argument("--entries", metavar="FILE", help="entries.json of a kept run: name what differs from it")
    parser.add_argument("--threads", default=THREADS, help=f"threads to compute with (default: {THREADS})")
    options = parser.parse_args()
    kernels, name = kernel_set()
    program = os.path.abspath(options.program)
    if not os.access(program, os.X_OK):
        raise Failure(f"{options.program}: is no program; build it with `make build`")
    recorded = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    if not options.record and name not in recorded:
        known = ", ".join(sorted(recorded)) or "none"
        raise Failure(f"no digests are recorded for the kernel set {name} (recorded: {known}); choose one with "
                      "BITSFUSION_KERNELS, or make them with --record and a program that is known to be right")
    expected = {} if options.record else recorded[name]["digests"]

    reference = json.loads(pathlib.Path(options.entries).read_text()) if options.entries else {}
    results = {}

    def report(item, entries):
        value = results[item] = digest(entries)
        if options.record:
            return print(f"{'recorded':8} {item}", flush=True)
        state = "ok" if expected.get(item) == value else "differs" if item in expected else "missing"
        print(f"{state:8} {item}" + ("" if item in expected else " (not recorded)"), flush=True)
        if state == "differs" and item in reference:
            print_differences(entries, reference[item])

    if options.keep:
        if os.path.exists(options.keep):
            raise Failure(f"{options.keep} exists; name a new folder")
        os.makedirs(options.keep)
    with tempfile.TemporaryDirectory(prefix="bitsfusion-replay-") as folder:
        os.chdir(options.keep or folder)
        items, failures = replay(program, environment(kernels, options.threads), report)
        if options.keep:
            pathlib.Path("entries.json").write_text(json.dumps(items, indent=1, sort_keys=True) + "\n")
        os.chdir(ROOT)

    if options.record:
        if failures:
            raise Failure(f"{len(failures)} commands failed; nothing was recorded")
        recorded[name] = {"made with": libraries(program), "digests": results}
        DIGESTS.parent.mkdir(parents=True, exist_ok=True)
        DIGESTS.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
        print(f"{len(results)} recorded for the kernel set {name}")
        return 0
    for item in sorted(set(expected) - set(results)):
        print(f"missing  {item}")
    passed = sum(expected.get(item) == value for item, value in results.items())
    failed = len(set(expected) | set(results)) - passed
    made_with = recorded[name]["made with"]
    if failed and made_with != libraries(program):
        print(f"other libraries round otherwise: recorded with {made_with}, found {libraries(program)}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"replay: {failure}")
