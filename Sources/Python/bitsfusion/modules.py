# SPDX-License-Identifier: Apache-2.0
"""Layers whose weights stay low-bit codes in memory and are dequantized at every use.

They compute what torch.nn's layers compute with the dense weight: the dense weight is that of `dense=True` in every
bit. They have no trainable weight; gradients flow to the input and the bias.
"""

import threading

import torch
from torch import nn
from torch.nn import functional

from . import fields

# Elements that are dequantized at a time on a CPU, so that intermediate values stay in the cache.
CHUNK = 1 << 18

_buffers = threading.local()


class PackedWeight(nn.Module):
    """Base class: codes and scales of a weight of shape [OC, ...].

    Args:
        shape: shape of the weight.
        levels: the number of levels L of its grid.
        parts: the codes as `fields.pack` packs them, uint8 tensors.
        scale: float32 [OC].
        dtype: type of the dense weight; `to(dtype)` changes it, but not the type of the scales.
    """

    def __init__(self, shape, levels, parts, scale, dtype=torch.float32):
        super().__init__()
        self.shape, self.levels, self.weight_dtype = torch.Size(shape), levels, dtype
        # Rows of one pass: in every part, they have the same field of their bytes.
        self.narrowest = min(fields.part_widths(levels))
        self.pass_rows = fields.segment(shape[0]) * self.narrowest
        for index, part in enumerate(parts):
            self.register_buffer(f"codes_{index}", part)
        self.register_buffer("scale", scale)

    @property
    def weight(self):
        """The dense weight in the type of the module. It is computed at every access and does not share memory."""
        return self.dequantize(self.weight_dtype)

    def dequantize(self, dtype, out=None):
        """The dense weight.

        Args:
            dtype: a floating-point type. The product of code and scale is rounded to float32, then to this type.
            out: a tensor of the shape and type to write to; default: a new one.
        """
        if out is None:
            out = torch.empty(self.shape, dtype=dtype, device=self.scale.device)
        rows, channels = out.view(self.shape[0], -1), self.shape[0]
        step = max(1, CHUNK // rows.shape[1]) if rows.device.type == "cpu" else self.pass_rows
        for start in range(0, channels, self.pass_rows):
            end = min(start + self.pass_rows, channels)
            for first in range(start, end, step):
                last = min(first + step, end)
                target = rows[first:last]
                codes = self._codes(first, last)
                if target.dtype == torch.float32:
                    target.copy_(codes)
                    target.mul_(self.scale[first:last, None])
                else:
                    target.copy_(codes.float().mul_(self.scale[first:last, None]))
        return out

    def _codes(self, first, last):
        """Signed codes of output channels `first` to `last`, which belong to one pass, int8 or int16 [rows, K]."""
        low, codes = 0, None
        for index, width in enumerate(fields.part_widths(self.levels)):
            field, row = divmod(first, self.pass_rows * width // self.narrowest)
            values = self.get_buffer(f"codes_{index}")[row : row + last - first]
            if field:
                values = values >> (width * field)
            if field < 8 // width - 1:
                values = values & ((1 << width) - 1)
            if codes is None:
                codes = values.to(torch.int16) if self.levels > 256 else values
            else:
                codes = codes | (values.to(codes.dtype) << low)
            low += width
        codes = codes - (self.levels - 1) // 2
        # Codes below the middle wrap around in uint8; as int8 they are negative.
        return codes if self.levels > 256 else codes.view(torch.int8)

    def _temporary_weight(self, dtype):
        """The dense weight, valid until the next call on this thread if no gradients are recorded.

        On a CPU all layers share one buffer: new memory for each layer would take about as long as the unpacking,
        because the system clears it. With gradients, the backward pass needs the weight later.
        """
        if self.scale.device.type != "cpu" or torch.is_grad_enabled():
            return self.dequantize(dtype)
        count = self.shape.numel()
        buffer = getattr(_buffers, "by_dtype", {}).get(dtype)
        if buffer is None or buffer.numel() < count:
            # Tensors that are made in inference mode cannot be written to outside of it.
            with torch.inference_mode(False):
                buffer = torch.empty(count, dtype=dtype)
            _buffers.by_dtype = {**getattr(_buffers, "by_dtype", {}), dtype: buffer}
        return self.dequantize(dtype, out=buffer[:count].view(self.shape))

    def _apply(self, function, recurse=True):
        """Moves the module; scales stay float32, because 16 bits would change the weights."""
        scale, example = self.scale, torch.empty(0, dtype=self.weight_dtype, device=self.scale.device)
        super()._apply(function, recurse)
        self.weight_dtype = function(example).dtype
        if self.scale.dtype != torch.float32:
            self.scale = scale.to(self.scale.device)
        return self

    def packed_bytes(self):
        """The bytes of codes and scales in memory."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self.buffers(recurse=False))

    def extra_repr(self):
        return f"shape={list(self.shape)}, levels={self.levels}"


class PackedLinear(PackedWeight):
    """torch.nn.Linear with a packed weight [OC, IC]."""

    def __init__(self, weight, layer):
        super().__init__(**weight)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.bias = layer.bias

    def forward(self, input):
        return functional.linear(input, self._temporary_weight(input.dtype), self.bias)


class PackedConv2d(PackedWeight):
    """torch.nn.Conv2d with a packed weight [OC, IC, KH, KW]."""

    def __init__(self, weight, layer):
        super().__init__(**weight)
        for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
            setattr(self, name, getattr(layer, name))
        self.bias = layer.bias

    def forward(self, input):
        return functional.conv2d(
            input, self._temporary_weight(input.dtype), self.bias, self.stride, self.padding, self.dilation,
            self.groups)


class PackedEmbedding(PackedWeight):
    """torch.nn.Embedding with a packed weight [V, D]; only the rows that are used are dequantized."""

    def __init__(self, weight, layer):
        super().__init__(**weight)
        self.num_embeddings, self.embedding_dim = layer.num_embeddings, layer.embedding_dim
        self.bias = None

    def forward(self, input):
        used, index = torch.unique(input, return_inverse=True)
        if used.numel() and not 0 <= int(used[0]) <= int(used[-1]) < self.num_embeddings:
            raise IndexError(f"expected indices from 0 to {self.num_embeddings - 1}, found {int(used[0])} to "
                             f"{int(used[-1])}")
        rows = [self._codes(row, row + 1) for row in used.tolist()]
        table = torch.cat(rows).float() * self.scale[used, None]
        return table.to(self.weight_dtype)[index]


#: The packed class of each class of torch.nn.
CLASSES = {nn.Linear: PackedLinear, nn.Conv2d: PackedConv2d, nn.Embedding: PackedEmbedding}
