# SPDX-License-Identifier: Apache-2.0
"""One noise prediction of a UNet, here and in PyTorch: same config, same weights, same inputs, same threads, one run.

Builds diffusers' UNet2DConditionModel with random weights, imports it with `bitsfusion import`, checks that both
predict the same noise, and prints the median seconds of a pass in each with their ratio. A config of Stable Diffusion
1.5's size takes about 7 GB of temporary files (see --folder).

    make benchmark-forward
    python Benchmarks/pytorch/forward.py --config Configs/unet-sd15.json --size 32 --repeat 5

Our program runs without OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE, which may force OpenBLAS to the kernels of another
processor; PyTorch brings its own libraries and does not read them. Close other programs: both sides use all threads.
"""

import argparse
import gc
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import diffusers
import torch
from safetensors.torch import load_file, save_file

# Largest difference of the predictions, as a share of the largest value: what float32 sums in another order give.
TOLERANCE = 1e-4
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=pathlib.Path, help="diffusers' config.json of the UNet")
    parser.add_argument("--bitsfusion", default=".build/release/bitsfusion", help="the program")
    parser.add_argument("--size", type=int, default=64, help="height and width of the latents")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=77)
    parser.add_argument("--repeat", type=int, default=5, help="timed passes of each")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--types", nargs="+", choices=TYPES, default=["float32"], help="PyTorch's element types")
    parser.add_argument("--folder", help="where temporary files go")
    return parser.parse_args()


def own_environment(threads: int) -> dict:
    """The environment of our program: the user's, without what bends OpenBLAS."""
    kept = {key: value for key, value in os.environ.items() if key not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    return kept | {"BITSFUSION_THREADS": str(threads)}


def torch_seconds(unet, inputs: dict, dtype: torch.dtype, repeat: int):
    """Median seconds of a pass and the first pass's prediction."""
    if unet.dtype != dtype:
        unet = unet.to(dtype)
    typed = {key: value.to(dtype) if value.is_floating_point() else value for key, value in inputs.items()}
    seconds = []
    with torch.inference_mode():
        prediction = unet(**typed).sample
        for _ in range(repeat):
            start = time.perf_counter()
            unet(**typed)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), prediction.float()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel.from_config(json.loads(options.config.read_text())).eval()
    inputs = {
        "sample": torch.randn(options.batch, unet.config.in_channels, options.size, options.size),
        "timestep": torch.full((options.batch,), 500),
        "encoder_hidden_states": torch.randn(options.batch, options.tokens, unet.config.cross_attention_dim),
    }
    parameters = sum(parameter.numel() for parameter in unet.parameters())

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        model, given, made = (f"{folder}/{name}" for name in ("model.h5", "in.safetensors", "out.safetensors"))
        save_file(inputs, given)
        unet.save_pretrained(f"{folder}/unet")
        environment = own_environment(options.threads)
        subprocess.run(
            [options.bitsfusion, "import", f"{folder}/unet", "-o", model, "--quiet"],
            env=environment, check=True, stdout=subprocess.DEVNULL,
        )
        rows, reference = {}, None
        for name in sorted(options.types, key=lambda name: name != "float32"):
            rows[f"PyTorch {torch.__version__} {name}"], prediction = torch_seconds(
                unet, inputs, TYPES[name], options.repeat)
            reference = prediction if reference is None else reference
        del unet
        gc.collect()
        command = [options.bitsfusion, "predict", model, "--inputs", given, "-o", made]
        command += ["--repeat", str(options.repeat), "--json", "--quiet"]
        printed = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        ours = json.loads(printed)["seconds"]
        difference = (load_file(made)["noise_pred"] - reference).abs().max() / reference.abs().max()

    print(f"{platform.machine()}, {options.threads} threads, {parameters / 1e6:.1f} M parameters, sample "
          f"{list(inputs['sample'].shape)}, {options.tokens} tokens; median of {options.repeat} passes")
    print(f"largest difference of the predictions: {difference:.1e} of the largest value")
    print(f"\n{'':34}{'seconds':>10}{'to ours':>9}")
    for name, seconds in rows.items():
        print(f"{name:34}{seconds:10.3f}{seconds / ours:9.2f}")
    print(f"{'bitsfusion float32':34}{ours:10.3f}{1:9.2f}")
    if "float32" in options.types and difference > TOLERANCE:
        sys.exit(f"the predictions differ by more than {TOLERANCE:.0e}: the times do not compare")


if __name__ == "__main__":
    main()
