# SPDX-License-Identifier: Apache-2.0
"""The PyTorch process of bitsfusion-bench: one JSON request per line on standard input, one JSON answer per line on
standard output. Started by the Swift program, once per element type; tensors are exchanged as .safetensors files.

    python twin.py --type float32 --threads 2

Requests: {"command": "hello" | "prepare" | "results" | "reset_peak" | "measure" | "peak" | "release", ...}; see
Benchmarks/BitsFusionBench/Twin/TwinMessages.swift. An exception gives an answer with "error"; the process continues.
"""

import argparse
import ctypes
import gc
import json
import os
import sys
import time

import torch
from safetensors.torch import save_file

from operations import OPERATIONS
from stored_tensors import StoredTensors

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def return_freed_memory() -> None:
    """Returns freed memory to the system, so that it does not count in the peak of the next case."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


class Twin:
    """The prepared operation, and one method per command."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype
        self.operation = None

    def hello(self, _request: dict) -> dict:
        return {
            "torch": torch.__version__,
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        }

    def prepare(self, request: dict) -> dict:
        self.release(request)
        settings = request.get("options", {}) | request.get("text", {})
        self.operation = OPERATIONS[request["operation"]](StoredTensors(request["inputs"]), settings, self.dtype)
        return {}

    def results(self, request: dict) -> dict:
        results = self.operation.results()
        save_file({key: value.detach().float().contiguous() for key, value in results.items()}, request["outputs"])
        return {}

    def measure(self, request: dict) -> dict:
        plan = request["plan"]
        self.repeat(plan["settle"])
        seconds, passes = self.repeat(max(plan["minSeconds"], sys.float_info.min))
        return {"seconds": seconds / passes, "passes": passes}

    def repeat(self, min_seconds: float) -> tuple[float, int]:
        """Repeats passes for at least `min_seconds`; returns their duration and number."""
        seconds, passes = 0.0, 0
        while seconds < min_seconds:
            self.operation.prepare()
            start = time.perf_counter()
            self.operation.run()
            seconds += time.perf_counter() - start
            passes += 1
        return seconds, passes

    def reset_peak(self, _request: dict) -> dict:
        return_freed_memory()
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        except OSError:
            pass  # Not Linux, or not allowed: the peak is then that of the whole process.
        return {}

    def peak(self, _request: dict) -> dict:
        try:
            with open("/proc/self/status") as file:
                kilobytes = next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
        except (OSError, StopIteration):
            return {}
        return {"peak_bytes": kilobytes * 1024}

    def release(self, _request: dict) -> dict:
        self.operation = None
        return_freed_memory()
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", choices=TYPES, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    twin = Twin(TYPES[options.type])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(twin, request["command"])(request)
        except Exception as error:  # Reported by the Swift program; this process continues.
            answer = {"error": f"{type(error).__name__}: {error}"}
        try:
            print(json.dumps(answer), flush=True)
        except BrokenPipeError:
            # The Swift program has ended; avoid a second error when stdout is flushed at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return


if __name__ == "__main__":
    main()
