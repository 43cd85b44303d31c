# SPDX-License-Identifier: Apache-2.0
"""Read sensitivity.json and recipe.json as records, for example for pandas.DataFrame. Needs no other package."""

import json
import os

from .errors import FormatError

METRICS = ("mse", "psnr", "perceptual", "clipDrop", "noise", "fisher")


def read_sensitivity(path):
    """The measurements of sensitivity.json.

    Returns:
        one dictionary for each layer and bit width, in the order of the file: `path`, `kind`, `role`, `group`,
        `weights`, `skewness`, `bits`, and the metrics `mse`, `psnr`, `perceptual`, `clipDrop`, `noise`, `fisher`. A
        value that is not in the file is None.

    Raises:
        FormatError: the file is not a sensitivity table of version 2.
    """
    document = _read(path, "bitsfusion-sensitivity")
    records = []
    for layer in _value(path, document, "layers", list):
        name = _value(path, layer, "path", str)
        common = {"path": name} | {key: layer.get(key) for key in ("kind", "role", "group", "weights", "skewness")}
        common["role"] = common["role"] or "searched"
        common["group"] = common["group"] or "other"
        for bits, metrics in _value(path, layer, "bits", dict, name).items():
            if not bits.isdecimal() or not 1 <= int(bits) <= 8 or not isinstance(metrics, dict):
                raise FormatError(f"{os.fspath(path)}: {name}: bits: expected metrics for 1 to 8 bits, found {bits}")
            records.append(common | {"bits": int(bits)} | {metric: metrics.get(metric) for metric in METRICS})
    return records


def read_recipe(path):
    """The bits of recipe.json.

    Returns:
        one dictionary for each layer, in the order of the file: `path`, the nominal `bits`, the number of `levels`, and
        the `deadZone`, 0.5 if the recipe gives none.

    Raises:
        FormatError: the file is not a recipe of version 2.
    """
    document = _read(path, "bitsfusion-recipe", is_format_required=False)
    dead_zones = document.get("deadZones", {})
    layers = _value(path, document, "layers", dict)
    unknown = sorted(set(dead_zones) - set(layers))
    if unknown:
        raise FormatError(f"{os.fspath(path)}: deadZones: {unknown[0]} is not in layers")
    records = []
    for name, bits in layers.items():
        if type(bits) is not int or not 1 <= bits <= 8:
            raise FormatError(f"{os.fspath(path)}: layers: {name}: expected 1 to 8 bits, found {bits!r}")
        dead_zone = dead_zones.get(name, 0.5)
        if type(dead_zone) not in (int, float) or not 0.5 <= dead_zone < 1:
            raise FormatError(f"{os.fspath(path)}: deadZones: {name}: expected 0.5 to 1, found {dead_zone!r}")
        records.append({"path": name, "bits": bits, "levels": _levels(name, bits), "deadZone": dead_zone})
    return records


def _levels(name, bits):
    """8 bits have 255 levels in text encoders and VAE."""
    is_component = name.split(".", 1)[0] in ("text_encoder", "text_encoder_2", "vae")
    return 255 if bits == 8 and is_component else (1 << bits) + 1


def _read(path, kind, is_format_required=True):
    """A JSON document of format `kind`, version 2. Without a format, it is returned if none is required."""
    with open(path, encoding="utf-8") as file:
        try:
            document = json.load(file, object_pairs_hook=_unique)
        except ValueError as error:
            raise FormatError(f"{os.fspath(path)}: is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise FormatError(f"{os.fspath(path)}: expected a JSON object")
    if "format" in document or is_format_required:
        found = document.get("format"), document.get("version")
        if found != (kind, 2):
            raise FormatError(f"{os.fspath(path)}: expected {kind}, version 2, found {found[0]}, version {found[1]}")
    return document


def _unique(pairs):
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)} occurs twice")
    return result


def _value(path, document, key, kind, where=None):
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, kind):
        place = f"{where}: {key}" if where else key
        raise FormatError(f"{os.fspath(path)}: {place}: is missing or not a {kind.__name__}")
    return value
