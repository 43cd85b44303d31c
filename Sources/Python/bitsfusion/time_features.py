# SPDX-License-Identifier: Apache-2.0
"""Cached time features in the place of a UNet's time layers; see "Time features" in Docs/Formats.md.

diffusers' UNet2DConditionModel computes, for a timestep t and each residual block,

    feature = time_emb_proj(act(time_embedding(time_proj(t))))        act: SiLU or the `act_fn` of the config

Here, `time_proj` returns the row of t in the tables of the file as a one-hot vector [B, S], `time_embedding` returns
its input, and `time_emb_proj` returns that row of its table [S, C]. `act` changes the values of the one-hot vector, but
not the position of its largest value: all activations of diffusers satisfy act(1) > act(0). The features are therefore
exactly those of the file, and the model keeps no state between calls.
"""

import torch
from torch import nn

from .errors import FormatError, TimestepError


class CachedTimesteps(nn.Module):
    """In the place of `time_proj`: the rows of timesteps as one-hot vectors.

    Args:
        path: the file, for errors.
        timesteps: the cached timesteps, a list of S integers.
    """

    def __init__(self, path, timesteps):
        super().__init__()
        self.path, self.timesteps = path, list(timesteps)
        self.rows = {timestep: row for row, timestep in enumerate(self.timesteps)}

    def forward(self, timesteps):
        """One-hot vectors float32 [B, S] of timesteps [B].

        Raises:
            TimestepError: a timestep is not cached.
        """
        # Copies the timesteps from the device, which waits for it, once per call of the UNet.
        rows = []
        for timestep in timesteps.tolist():
            if timestep not in self.rows:
                raise TimestepError(
                    f"{self.path}: timestep {timestep:g} has no cached time features; cached are {self._listed()}; "
                    f"sample with the scheduler and the {len(self.timesteps)} steps that the file was packed for, or "
                    "pack again with `--cached-steps` and `--sampler`, or with `--cached-steps 0` to keep the time "
                    "layers")
            rows.append(self.rows[timestep])
        index = torch.tensor(rows, device=timesteps.device)
        return nn.functional.one_hot(index, len(self.timesteps)).float()

    def _listed(self):
        found = sorted(self.timesteps)
        texts = [str(timestep) for timestep in found]
        return ", ".join(texts if len(texts) <= 100 else texts[:20] + ["..."] + texts[-20:])


class CachedTimeEmbedding(nn.Module):
    """In the place of `time_embedding`: returns its input."""

    def forward(self, sample, condition=None):
        if condition is not None:
            raise ValueError("timestep_cond: a model with cached time features takes no timestep_cond")
        return sample


class CachedTimeFeatures(nn.Module):
    """In the place of `time_emb_proj`: the features of one residual block.

    Args:
        table: [S, C].
    """

    def __init__(self, table):
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, one_hot):
        """Features [B, C] of one-hot vectors [B, S], to which an activation may have been applied."""
        return self.table[one_hot.argmax(dim=1)]


def replace_time_layers(unet, path, timesteps, tables, dtype):
    """Replaces the time layers of a UNet2DConditionModel.

    Args:
        unet: the model; its time layers may be on the meta device.
        path: the file, for errors.
        timesteps: int64 [S].
        tables: path of a residual block: float16 [S, C], NumPy arrays.
        dtype: type of the model.

    Raises:
        FormatError: the tables are not those of the model.
    """
    config = unet.config
    for key in ("class_embed_type", "num_class_embeds", "addition_embed_type", "time_cond_proj_dim"):
        if config.get(key) is not None:
            raise FormatError(f"{path}: /time_features: with {key} {config[key]}, time features depend on more than "
                              "the timestep; the file is not valid")
    if config.get("resnet_time_scale_shift", "default") not in ("default", "scale_shift"):
        raise FormatError(f"{path}: /time_features: resnet_time_scale_shift {config['resnet_time_scale_shift']} is "
                          "not supported; pack with `--cached-steps 0`")
    blocks = {name: module for name, module in unet.named_modules()
              if isinstance(getattr(module, "time_emb_proj", None), nn.Linear)}
    if set(blocks) != set(tables):
        different = sorted(set(blocks) ^ set(tables))
        raise FormatError(f"{path}: /time_features: the residual blocks are not those of the config; different are "
                          f"{', '.join(different[:5])}")
    for name, block in blocks.items():
        table, channels = tables[name], block.time_emb_proj.out_features
        if table.shape[1] != channels:
            raise FormatError(f"{path}: /time_features/{name}: expected {channels} channels, found {table.shape[1]}")
        block.time_emb_proj = CachedTimeFeatures(torch.from_numpy(table).to(dtype))
    unet.time_proj = CachedTimesteps(path, timesteps.tolist())
    unet.time_embedding = CachedTimeEmbedding()
