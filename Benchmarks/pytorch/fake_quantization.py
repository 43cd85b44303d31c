# SPDX-License-Identifier: Apache-2.0
"""s * clip(round(w / s), -Q, Q) per output channel with LSQ's gradients, as in
Sources/Compression/Quantization/FakeQuantize.swift."""

import torch


class FakeQuantize(torch.autograd.Function):
    """Straight-through gradient for weights strictly inside the grid; LSQ's gradient for the scales."""

    @staticmethod
    def forward(context, weight, scales, maximum_code: int):
        step = scales.view(-1, *[1] * (weight.dim() - 1))
        context.save_for_backward(weight, scales)
        context.maximum_code = maximum_code
        return (weight / step).round_().clamp_(-maximum_code, maximum_code).mul_(step)

    @staticmethod
    def backward(context, gradient):
        weight, scales = context.saved_tensors
        limit = context.maximum_code
        ratio = weight / scales.view(-1, *[1] * (weight.dim() - 1))
        inside = ratio.abs() < limit
        codes = ratio.round().clamp_(-limit, limit)
        of_scales = torch.where(inside, codes - ratio, codes).mul_(gradient)
        per_channel = weight.numel() // weight.shape[0]
        of_scales = of_scales.flatten(1).sum(1) / (per_channel * limit) ** 0.5
        return gradient * inside, of_scales, None


def fake_quantize(weight, scales, maximum_code: int):
    return FakeQuantize.apply(weight, scales, maximum_code)
