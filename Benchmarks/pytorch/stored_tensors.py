# SPDX-License-Identifier: Apache-2.0
"""The tensors of a .safetensors file, one at a time, so that a model is never in memory twice."""

from collections.abc import Mapping

from safetensors import safe_open


class StoredTensors(Mapping):
    """Reads a tensor when it is asked for, as a copy: ordinary memory, as a user's weights are, not a mapped file."""

    def __init__(self, path: str):
        self.file = safe_open(path, "pt")
        self.names = list(self.file.keys())

    def __getitem__(self, name: str):
        if name not in self.names:
            raise KeyError(name)
        return self.file.get_tensor(name).clone()

    def __iter__(self):
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
