# SPDX-License-Identifier: Apache-2.0
"""The contents of the files that the program writes, as text that two runs can be compared by.

Each reader takes a path (or text) and returns {part: [(label, value), ...]}. Values are text: a number, or `tensor()`.
The digest of a part does not depend on the order of its entries. Layout and sizes of files do not count.
"""

import collections
import hashlib
import json
import pathlib
import struct
import zlib

import h5py
import numpy as np


def tensor(values, kind=None):
    """Type, shape and the hash of the elements of an array."""
    values = np.ascontiguousarray(values)
    return f"{kind or values.dtype.name} {list(values.shape)} {hashlib.sha256(values.tobytes()).hexdigest()}"


def numbers(value, skipped=(), label=""):
    """All numbers in a JSON value, labelled by those keys on their way that are numbers themselves (widths)."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return []
    if isinstance(value, (int, float)):
        return [(label, repr(float(value)))]
    if isinstance(value, list):
        return [entry for element in value for entry in numbers(element, skipped, label)]
    return [entry for key, element in value.items() if not any(word in key for word in skipped)
            for entry in numbers(element, skipped, f"{label}@{key}" if key.isdigit() else label)]


# What is no result: sizes of files and times.
NO_RESULTS = ("Bytes", "bytes", "econds")


def safetensors(path):
    """{key: array}; bfloat16 as uint16."""
    types = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1"}
    data = pathlib.Path(path).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {key: np.frombuffer(data[start + entry["data_offsets"][0]:start + entry["data_offsets"][1]],
                               types[entry["dtype"]]).reshape(entry["shape"]) for key, entry in header.items()}


def read_safetensors(path):
    return {"tensors": [(key, tensor(value)) for key, value in safetensors(path).items()]}


def read_folder(path):
    """The weights of a diffusers folder."""
    (file,) = pathlib.Path(path).glob("*.safetensors")
    return read_safetensors(file)


def read_png(path):
    """The pixels of an 8-bit PNG without interlacing."""
    data, at, packed = pathlib.Path(path).read_bytes(), 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", body)
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    if depth != 8 or interlaced or color not in (0, 2, 6):
        raise ValueError(f"{path}: cannot read this kind of PNG")
    step = {0: 1, 2: 3, 6: 4}[color]
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * step)
    above, pixels = bytearray(width * step), []
    for row in rows:
        line = unfilter(int(row[0]), bytearray(row[1:].tobytes()), above, step)
        pixels.append(bytes(line))
        above = line
    return {"pixels": [("", tensor(np.frombuffer(b"".join(pixels), np.uint8).reshape(height, width, step)))]}


def unfilter(kind, line, above, step):
    """One row of a PNG behind its filter (PNG specification, section 9)."""
    if kind == 0:
        return line
    for i in range(len(line)):
        left, up = (line[i - step] if i >= step else 0), above[i]
        corner = above[i - step] if i >= step else 0
        if kind == 4:
            guess = left + up - corner
            predicted = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
        else:
            predicted = {1: left, 2: up, 3: (left + up) // 2}[kind]
        line[i] = (line[i] + predicted) & 255
    return line


# Groups whose tensors are named by their parameter, and groups whose parameters may be renamed.
NAMED_GROUPS, NAMELESS_GROUPS = ["unet", "time_features"], ["text_encoder", "clip"]
SCALE_OF_TRAINING = ".weight.scale"


def datasets(group):
    """{key with dots: dataset} of everything under a group."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name.replace("/", ".")] = item

    group.visititems(visit)
    return found


def stored(dataset):
    """A dataset's content; bfloat16 is uint16 with an attribute."""
    kind = dataset.attrs.get("dtype")
    return tensor(dataset[()], kind.decode() if kind is not None else None)


def read_checkpoint(path):
    """A model, student, packed file or CLIP-proxy."""
    parts = collections.defaultdict(list)
    with h5py.File(path, "r") as file:
        for group in NAMED_GROUPS:
            if group in file:
                parts[group] = [(key, stored(item)) for key, item in datasets(file[group]).items()]
        for group in NAMELESS_GROUPS:
            if group in file:
                parts[group] = [("", stored(item)) for item in datasets(file[group]).values()]
        if "quantization" in file:
            for key, item in datasets(file["quantization"]["unet"]).items():
                parts["scales"].append((key, f"{int(item.attrs['bits'])} bits {stored(item)}"))
        if "packed" in file:
            for key, item in datasets(file["packed"]["unet"]).items():
                if key.endswith(".codes"):
                    text, encoding = item.attrs, item.attrs["encoding"].decode()
                    form = f"{int(text['bits'])} bits {int(text['levels'])} levels {encoding} {text['shape'].tolist()}"
                    parts["codes"].append((key, f"{form} {stored(item)}"))
                else:
                    parts["scales"].append((key, stored(item)))
        if "training" in file:
            read_training(file, parts)
    return dict(parts)


def read_training(file, parts):
    """The state of a run: tensors by role, of the UNet by name, and the loss curve."""
    own = set(datasets(file["unet"])) if "unet" in file else set()
    state = json.loads(file["header"]["training"][()])
    parts["losses"] = numbers([state["history"], state["pending"]])
    for role in ["values", "first_moments", "second_moments", "averages"]:
        for key, item in datasets(file["training"][role]).items() if role in file["training"] else []:
            is_scale = key.endswith(SCALE_OF_TRAINING)
            parameter_key = key[:-len(".scale")] if is_scale else key
            kind = "scales " if is_scale else ""
            parts[f"training {role}"].append((kind + parameter_key if parameter_key in own else "", stored(item)))


def saved_step(path):
    """The step of a run, finished or not; None for a file of another kind."""
    with h5py.File(path, "r") as file:
        return json.loads(file["header"]["training"][()])["step"] if "training" in file["header"] else None


def steps_done(path):
    """The step of an unfinished run, None where there is none."""
    with h5py.File(path, "r") as file:
        state = json.loads(file["header"]["training"][()])
        return state["step"] if "values" in file["training"] else None


def read_everything(path):
    """All data sets and attributes of an HDF5 file, by name, except the record of the run that wrote it."""
    entries = []
    with h5py.File(path, "r") as file:
        def visit(name, item):
            for key, value in item.attrs.items():
                entries.append((f"{name}@{key}", str(value)))
            if isinstance(item, h5py.Dataset) and name != "header/manifest":
                value = item[()]
                entries.append((name, value.decode() if isinstance(value, bytes) else stored(item)))

        entries.extend((f"@{key}", str(value)) for key, value in file.attrs.items())
        file.visititems(visit)
    return {"file": entries}


def read_tree(path):
    """All files below a folder except temporary ones: tensors of safetensors files, the bytes of others."""
    entries = []
    for file in sorted(pathlib.Path(path).rglob("*")):
        if ".tmp-" in file.name:
            continue
        name = str(file.relative_to(path))
        if file.suffix == ".safetensors":
            entries.extend((f"{name}: {key}", value) for key, value in read_safetensors(file)["tensors"])
        elif file.is_file():
            entries.append((name, hashlib.sha256(file.read_bytes()).hexdigest()))
    return {"files": entries}


def read_sensitivity(path):
    """Every layer's numbers, and what follows from them."""
    table = json.loads(pathlib.Path(path).read_text())
    layers = [(layer["path"] + label, value) for layer in table["layers"] for label, value in numbers(layer)]
    return {"layers": layers, "findings": numbers([table.get("correlations"), table.get("sums")])}


def read_recipe(path):
    recipe = json.loads(pathlib.Path(path).read_text())
    parts = {"widths": [(layer, str(int(bits))) for layer, bits in recipe["layers"].items()]}
    if recipe.get("deadZones"):
        parts["dead zones"] = [(layer, repr(deadZone)) for layer, deadZone in recipe["deadZones"].items()]
    if recipe.get("verified"):
        parts["verified"] = numbers(recipe["verified"], NO_RESULTS)
    return parts


def read_curve(path):
    curve = json.loads(pathlib.Path(path).read_text())
    return {"points": [(method, f"{point['averageBits']!r} bits {point['predictedError']!r}")
                       for method in ["optimal", "threshold", "entropy"] for point in curve[method]]}


def read_verification(text):
    return {"outputs": [(output["activations"] + label, value) for output in json.loads(text)["outputs"]
                        for label, value in numbers(output)]}


def read_scores(text):
    return {"scores": [(f"model {row}{label}", value) for row, model in enumerate(json.loads(text)["rows"])
                       for label, value in numbers([model["score"], model.get("paired")], NO_RESULTS)]}


def read_information(text):
    information = json.loads(text)
    counts = [("parameters", str(information["parameters"])), ("weights", str(information["weights"]))]
    counts.append(("average bits", repr(float(information["quantized"]["averageBits"]))))
    layers = [(layer["path"], f"{layer['shape']} {layer.get('bits')}") for layer in information["layers"]]
    return {"sizes": counts, "layers": layers}


def digest(entries):
    return hashlib.sha256("\n".join(f"{label}\t{value}" for label, value in sorted(entries)).encode()).hexdigest()
