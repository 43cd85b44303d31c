# SPDX-License-Identifier: Apache-2.0
"""Load the packed models of bitsfusion, with about two bits per weight, in PyTorch and diffusers.

    import bitsfusion
    pipeline = bitsfusion.load_pipeline("packed.h5")
    image = pipeline("a photo of an astronaut riding a horse").images[0]

Reading codes needs h5py and NumPy, `dequantized_state_dict` also PyTorch, models and pipelines also diffusers and
transformers. These are imported at the first use.
"""

import importlib

from .documents import read_recipe, read_sensitivity
from .errors import BitsFusionError, ComponentError, FormatError, TimestepError

__version__ = "0.2.0"

#: Modules by the names that they define and that are imported at the first use.
_LAZY = {
    "PackedFile": "packed_file", "PackedLayer": "packed_file",
    "PackedConv2d": "modules", "PackedEmbedding": "modules", "PackedLinear": "modules", "PackedWeight": "modules",
    "dequantized_state_dict": "loading", "load_pipeline": "loading", "load_unet": "loading", "packed_bytes": "loading"}

__all__ = ["BitsFusionError", "ComponentError", "FormatError", "TimestepError", "read_recipe", "read_sensitivity",
           *_LAZY]


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
