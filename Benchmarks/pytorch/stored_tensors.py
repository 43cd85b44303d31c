# SPDX-License-Identifier: Apache-2.0
"""The tensors of .safetensors files, read one at a time, so that a model is not in memory twice."""

from collections.abc import Mapping

from safetensors import safe_open


class StoredTensors(Mapping):
    """Reads a tensor when it is accessed, as a copy in ordinary memory instead of a mapped file."""

    def __init__(self, paths: list[str]):
        self.files = {}
        for file in (safe_open(path, "pt") for path in paths):
            self.files |= dict.fromkeys(file.keys(), file)

    def __getitem__(self, name: str):
        return self.files[name].get_tensor(name).clone()

    def __iter__(self):
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)
