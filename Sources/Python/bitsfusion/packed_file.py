# SPDX-License-Identifier: Apache-2.0
"""Read packed checkpoints; see "Packed models" in Docs/Formats.md. Needs h5py and NumPy, not PyTorch."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import math
import os
import zlib

import h5py
import numpy as np

from . import codes as groups
from . import entropy
from . import memory
from .errors import FormatError

FORMAT, VERSION = "bitsfusion-packed", 2
FIXED_GROUPS = {"header", "tokenizers", "packed", "time_features"}
# Limits, because a few bytes can encode any number of codes.
LAYER_LIMIT, COMPONENT_LIMIT = 1 << 30, 1 << 33


@dataclasses.dataclass
class PackedLayer:
    """Codes and scales of a quantized layer. The weight is scale[oc] * (code - (levels - 1) / 2)."""

    path: str
    levels: int
    encoding: str
    #: [OC, IC] or [OC, IC, KH, KW]
    shape: tuple
    #: the codes as stored, uint8 [bytes]; None after decoding
    data: np.ndarray | None
    #: float32 [OC]
    scale: np.ndarray

    @property
    def count(self):
        return math.prod(self.shape)


def _reading(method):
    """Turns the exceptions of h5py for damaged files into FormatError."""

    @functools.wraps(method)
    def wrapper(self, *arguments):
        try:
            return method(self, *arguments)
        except FormatError:
            raise
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            text = " ".join(str(error).split()).strip("'\"")
            raise self._error("/", f"HDF5 cannot read it: {text}; the file is damaged") from error

    return wrapper


class PackedFile:
    """An open packed checkpoint. Use it in a `with` statement.

    Args:
        path: the file.

    Raises:
        FormatError: it is not a packed checkpoint of version 2, or it is damaged.
        FileNotFoundError: there is no such file.
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        if not os.path.isfile(self.path):
            raise FileNotFoundError(f"{self.path}: no such file")
        if not h5py.is_hdf5(self.path):
            raise FormatError(f"{self.path}: not an HDF5 file; expected a file of `bitsfusion pack` or `quantize`")
        self._file = None
        try:
            self._read_header()
        except Exception:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self._file is not None:
            self._file.close()

    @_reading
    def _read_header(self):
        self._file = h5py.File(self.path, "r")
        found = self._text("/", "format")
        if found != FORMAT:
            raise self._error("/", f"expected the format {FORMAT}, found {found}; make a packed file with "
                              "`bitsfusion pack` or `bitsfusion quantize`")
        version = self._integer("/", "format_version")
        if version != VERSION:
            raise self._error("/", f"expected the format version {VERSION}, found {version}; use the release of "
                              "bitsfusion that wrote the file")
        #: class of the main component: UNet2DConditionModel
        self.architecture = self._text("/", "architecture")
        #: name of the main component: unet
        self.main = self._text("/", "component")
        #: name of the text encoders' tokenizer, or None
        self.tokenizer = self._text("/", "tokenizer") if "tokenizer" in self._file.attrs else None
        header = self._datasets("header")
        self.documents = {key: self._document(header[key]) for key in header}
        self._check_group("header", {key: text for key, text in self.documents.items()})
        #: names of the components, such as unet, text_encoder, vae
        self.components = sorted(set(self._file) - FIXED_GROUPS)
        for name in self.components:
            if name not in self.documents:
                raise self._error(f"/{name}", "is a group that packed files do not have")
        for name in self._file["packed"] if "packed" in self._file else ():
            if name not in self.components:
                raise self._error(f"/packed/{name}", f"belongs to no component of {', '.join(self.components)}")
        if self.main not in self.components:
            raise self._error("/", f"has no group of its main component {self.main}")

    def json(self, name):
        """A JSON document of the header, such as the config.json of component `name`; None if there is none."""
        if name not in self.documents:
            return None
        try:
            return json.loads(self.documents[name])
        except ValueError as error:
            raise self._error(f"/header/{name}", f"is not JSON: {error}") from None

    @_reading
    def tokenizer_files(self, name):
        """The files of a tokenizer folder, file name: bytes; empty if there are none.

        Args:
            name: tokenizer or tokenizer_2.
        """
        if "tokenizers" not in self._file:
            return {}
        datasets = self._datasets("tokenizers", separator="/")
        texts = {key: self._document(dataset) for key, dataset in datasets.items()}
        self._check_group("tokenizers", texts)
        return {key.split("/", 1)[1]: text for key, text in texts.items() if key.split("/", 1)[0] == name}

    @_reading
    def parameters(self, component):
        """The parameters that are not quantized, key: float32 or float16 array.

        bfloat16 values are returned as float32, which holds them exactly.
        """
        self._require(component)
        result, stored = {}, {}
        for key, dataset in self._datasets(component).items():
            where = dataset.name
            stored[key] = values = dataset[()]
            is_bfloat16 = "dtype" in dataset.attrs and self._text(where, "dtype") == "bfloat16"
            if is_bfloat16 and values.dtype == np.uint16:
                values = (values.astype(np.uint32) << 16).view(np.float32)
            elif values.dtype not in (np.float32, np.float16):
                raise self._error(where, f"expected float32, float16 or bfloat16, found {values.dtype}")
            if not np.isfinite(values).all():
                raise self._error(where, "contains NaN or infinity; the file is damaged")
            result[key] = values
        self._check_group(component, stored)
        return result

    @_reading
    def layers(self, component):
        """The quantized layers of a component with their codes as stored, path: PackedLayer."""
        self._require(component)
        if component not in self._file.get("packed", ()):
            return {}
        datasets = self._datasets(f"packed/{component}")
        layers = {}
        for key in datasets:
            path, _, name = key.rpartition(".")
            if name not in ("codes", "scale") or f"{path}.codes" not in datasets or f"{path}.scale" not in datasets:
                raise self._error(datasets[key].name, "belongs to no packed layer")
            if name == "codes":
                layers[path] = self._layer(path, datasets[key], datasets[f"{path}.scale"])
        total = sum(layer.count for layer in layers.values())
        if total > COMPONENT_LIMIT:
            raise self._error(f"/packed/{component}", f"has {total} weights, expected at most {COMPONENT_LIMIT}")
        return layers

    @_reading
    def time_features(self):
        """The cached time features; None if the file has the time layers.

        Returns:
            timesteps, int64 [S], and for each residual block its features, path: float16 [S, C].
        """
        if "time_features" not in self._file:
            return None
        stored = {key: dataset[()] for key, dataset in self._datasets("time_features").items()}
        self._check_group("time_features", stored)
        tables = dict(stored)
        timesteps = tables.pop("timesteps", np.empty(0))
        is_valid = timesteps.dtype == np.int64 and timesteps.ndim == 1 and timesteps.size > 0
        is_valid = is_valid and 0 <= timesteps.min() and timesteps.max() <= 999999
        if not is_valid or np.unique(timesteps).size < timesteps.size:
            raise self._error("/time_features/timesteps", "expected different integers in 0...999999")
        for path, table in tables.items():
            if table.dtype != np.float16 or table.ndim != 2 or len(table) != timesteps.size:
                raise self._error(f"/time_features/{path}", f"expected float16 [{timesteps.size}, C], found "
                                  f"{table.dtype} {list(table.shape)}")
            if not np.isfinite(table).all():
                raise self._error(f"/time_features/{path}", "contains NaN or infinity; the file is damaged")
        return timesteps, tables

    def decode(self, layers, use):
        """Decodes layers on all processors and releases their bytes: `data` is then None.

        Args:
            layers: a list of PackedLayer.
            use: called with each layer and its codes, uint8 (uint16 for 257 levels) of the layer's shape, on any
                thread. The memory of the codes is used again after the call.

        Returns:
            the results of `use`, in the order of `layers`.

        Raises:
            FormatError: codes cannot be decoded.
        """
        streams = {}
        for index, layer in enumerate(layers):
            if layer.data is not None and layer.encoding == "entropy" and layer.data[0] != 0:
                with self._decoding(layer):
                    streams[index] = entropy.Stream(layer.data, layer.count, layer.levels)

        def decode_streams(part):
            try:
                entropy.decode([streams[index] for index in part])
            except entropy.StreamError as error:
                raise self._damaged(layers[part[error.stream]], error) from None

        def finish(index):
            layer = layers[index]
            if layer.data is None:
                raise ValueError(f"packed layer {layer.path}: was decoded before")
            with self._decoding(layer):
                if index in streams:
                    codes = streams.pop(index).codes(scratch.array)
                else:
                    is_entropy = layer.encoding == "entropy"
                    codes = groups.read_groups(
                        layer.data[is_entropy:], layer.count, layer.levels, "radix" if is_entropy else layer.encoding,
                        scratch.array)
            layer.data = None
            return use(layer, codes.reshape(layer.shape))

        scratch, workers = memory.Scratch(), worker_count()
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            list(pool.map(decode_streams, _balanced(streams, workers)))
            return list(pool.map(finish, range(len(layers))))

    def _layer(self, path, codes, scale):
        """Reads and checks a layer; the codes are not decoded."""
        where = f"packed layer {path}"
        if codes.dtype != np.uint8 or codes.ndim != 1 or codes.size == 0:
            raise self._error(where, f"codes: expected uint8 [bytes], found {codes.dtype} {list(codes.shape)}")
        data, scales = memory.empty(codes.shape, np.uint8), scale[()]
        codes.read_direct(data)
        if scales.dtype not in (np.float32, np.float16) or scales.ndim != 1:
            raise self._error(where, f"scale: expected float32 or float16 [OC], found {scales.dtype} "
                              f"{list(scales.shape)}")
        found, stored = zlib.crc32(scales, zlib.crc32(data)), self._integer(codes.name, "crc32")
        if found != stored:
            raise self._error(where, f"expected the checksum {stored}, found {found}; the file is damaged")
        bits, levels = self._integer(codes.name, "bits"), self._integer(codes.name, "levels")
        if not 1 <= bits <= 8 or levels != (1 << bits) + 1 and (bits, levels) != (8, 255):
            raise self._error(where, f"{levels} levels do not match {bits} bits")
        encoding = self._text(codes.name, "encoding")
        if encoding not in ("radix", "fixed", "entropy"):
            raise self._error(where, f"unknown encoding {encoding}; update this package")
        shape = tuple(int(size) for size in np.atleast_1d(codes.attrs.get("shape", 0)))
        if len(shape) not in (2, 4) or min(shape) < 1 or math.prod(shape) > LAYER_LIMIT:
            raise self._error(where, f"expected the shape of a weight, found {list(shape)}")
        if scales.size != shape[0]:
            raise self._error(where, f"expected {shape[0]} scales, found {scales.size}")
        smallest = 2.0**-14 if scales.dtype == np.float16 else 0
        if not (np.isfinite(scales) & (scales > 0) & (scales >= smallest)).all():
            raise self._error(where, "expected finite scales above 0; the file is damaged")
        return PackedLayer(path, levels, encoding, shape, data, scales.astype(np.float32))

    @contextlib.contextmanager
    def _decoding(self, layer):
        """Turns errors of decoders into FormatError with file and layer."""
        try:
            yield
        except (entropy.StreamError, groups.CodesError) as error:
            raise self._damaged(layer, error) from None

    def _damaged(self, layer, error):
        return self._error(f"packed layer {layer.path}", f"{error}; the file is damaged")

    def _require(self, component):
        if component not in self.components:
            raise FormatError(f"{self.path}: has no component {component}, only {', '.join(self.components)}")

    def _datasets(self, group, separator="."):
        """All datasets below a group, key: dataset; the parts of a key are separated by dots, as in state_dict."""
        found = {}

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                found[name.replace("/", separator)] = item

        if not isinstance(self._file.get(group), h5py.Group):
            raise self._error(f"/{group}", "is missing")
        self._file[group].visititems(visit)
        return found

    def _check_group(self, group, datasets):
        """Compares the checksum of a group; `datasets` are the stored elements by key."""
        text = b"".join(
            key + zlib.crc32(elements).to_bytes(4, "little")
            for key, elements in sorted((key.encode(), elements) for key, elements in datasets.items()))
        found, stored = zlib.crc32(text), self._integer(group, "crc32")
        if found != stored:
            raise self._error(f"/{group.strip('/')}", f"expected the checksum {stored}, found {found}; the file is "
                              "damaged")

    def _document(self, dataset):
        value = dataset[()]
        if not isinstance(value, bytes):
            raise self._error(dataset.name, "expected text")
        return bytes(value)

    def _attribute(self, where, name):
        value = self._file[where].attrs.get(name)
        if value is None:
            raise self._error(where, f"the attribute {name} is missing")
        return value

    def _text(self, where, name):
        value = self._attribute(where, name)
        if not isinstance(value, bytes):
            raise self._error(where, f"expected text in the attribute {name}, found {value!r}")
        return value.decode()

    def _integer(self, where, name):
        value = self._attribute(where, name)
        if not isinstance(value, np.integer):
            raise self._error(where, f"expected an integer in the attribute {name}, found {value!r}")
        return int(value)

    def _error(self, where, text):
        return FormatError(f"{self.path}: {where}: {text}")


def dequantized(layer, codes):
    """The dense weight of a layer.

    Args:
        layer: a PackedLayer.
        codes: its codes, of its shape.

    Returns:
        float32 of the layer's shape, equal to the weights of `bitsfusion export` in every bit.
    """
    weight = codes.reshape(layer.shape[0], -1).astype(np.float32)
    weight -= np.float32((layer.levels - 1) // 2)
    weight *= layer.scale[:, None]
    return weight.reshape(layer.shape)


def worker_count():
    """The number of threads that decode: the processors that the process may use, at most 8."""
    try:
        return min(8, len(os.sched_getaffinity(0)))
    except AttributeError:
        return min(8, os.cpu_count() or 1)


def _balanced(streams, parts):
    """Distributes streams by the time that they take; returns lists of their keys."""
    lists, loads = [[] for _ in range(parts)], [0] * parts
    for key in sorted(streams, key=lambda key: -streams[key].tuples):
        part = loads.index(min(loads))
        lists[part].append(key)
        loads[part] += streams[key].tuples
    return [keys for keys in lists if keys]
