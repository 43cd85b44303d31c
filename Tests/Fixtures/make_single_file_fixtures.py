# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/CheckpointsTests/Fixtures/single-file.json: how tiny networks are stored in single files.

Run by hand:  python Tests/Fixtures/make_single_file_fixtures.py      (torch 2.15.0, diffusers 0.42.1, transformers
5.24.0). For each network: the config, keys and shapes in diffusers, and how each tensor of the single file is made:
[what, keys], where what is `copy`, `kernel` (a matrix as a convolution), `rows` (concatenated) or `transpose`. The
script stops where diffusers' own converters do not give the network back.
"""

import json
from pathlib import Path

import torch
from diffusers.loaders import single_file_utils as converters

import tiny_pipelines as tiny

TARGET = Path(__file__).resolve().parent.parent / "CheckpointsTests" / "Fixtures" / "single-file.json"
OPERATIONS = {
    "copy": lambda values: values[0], "kernel": lambda values: values[0][:, :, None, None],
    "rows": lambda values: torch.cat(values), "transpose": lambda values: values[0].T,
}


def plan(kind, tensors):
    """{original name: [what, keys]}"""
    steps = {}
    for key, value in tensors.items():
        if kind.startswith("unet"):
            steps[tiny.original_unet(key, getattr(tiny, kind.upper()))] = ["copy", [key]]
        elif kind == "vae":
            is_attention = ".attentions." in key and value.ndim == 2
            steps[tiny.original_vae(key, tiny.VAE)] = ["kernel" if is_attention else "copy", [key]]
        elif kind == "clip":
            steps[key] = ["copy", [key]]
        elif "q_proj" in key:
            name = tiny.original_open_clip(key).replace("q_proj.", "in_proj_")
            steps[name] = ["rows", [key.replace("q_proj", part) for part in ("q_proj", "k_proj", "v_proj")]]
        elif "k_proj" not in key and "v_proj" not in key:
            steps[tiny.original_open_clip(key)] = ["transpose" if key == "text_projection.weight" else "copy", [key]]
    return steps


def converted(kind, stored, model):
    """What diffusers reads from a single file with the tensors `stored`."""
    if kind.startswith("unet"):
        checkpoint = {"model.diffusion_model." + key: value for key, value in stored.items()}
        return converters.convert_ldm_unet_checkpoint(checkpoint, dict(model.config))
    if kind == "vae":
        checkpoint = {"first_stage_model." + key: value for key, value in stored.items()}
        return converters.convert_ldm_vae_checkpoint(checkpoint, dict(model.config))
    if kind == "clip":
        checkpoint = {"cond_stage_model.transformer." + key: value for key, value in stored.items()}
        return converters.convert_ldm_clip_checkpoint(checkpoint)
    prefix = "conditioner.embedders.1.model."
    checkpoint = {prefix + key: value for key, value in stored.items()}
    return converters.convert_open_clip_checkpoint(model, checkpoint, prefix=prefix)


def describe(kind):
    model = tiny.make(kind, kind)
    tensors = tiny.state(model)
    steps = plan(kind, tensors)
    stored = {name: OPERATIONS[what]([tensors[key] for key in keys]) for name, (what, keys) in steps.items()}
    found = converted(kind, stored, model)
    assert found.keys() == tensors.keys(), found.keys() ^ tensors.keys()
    assert all(torch.equal(found[key], tensors[key]) for key in tensors)
    is_text = hasattr(model.config, "to_json_string")
    config = json.loads(model.config.to_json_string()) if is_text else dict(model.config)
    return {"config": config, "tensors": {key: list(value.shape) for key, value in tensors.items()}, "stored": steps}


if __name__ == "__main__":
    document = {kind: describe(kind) for kind in ("unet_conv", "unet_linear", "vae", "clip", "open_clip")}
    TARGET.parent.mkdir(exist_ok=True)
    lines = []
    for kind, parts in document.items():
        fields = []
        for name, value in parts.items():
            if name == "config":
                fields.append(f'"{name}": {json.dumps(value, sort_keys=True)}')
            else:
                entries = ",\n".join(f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items())
                fields.append(f'"{name}": {{\n{entries}}}')
        lines.append(f'"{kind}": {{' + ",\n".join(fields) + "}")
    TARGET.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
    print(TARGET, TARGET.stat().st_size)
