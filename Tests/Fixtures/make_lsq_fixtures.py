# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/QuantizationTests/Fixtures/lsq.json: LSQ's fake quantization with both gradients, by PyTorch's autograd.

Run by hand:  python Tests/Fixtures/make_lsq_fixtures.py      (torch 2.15.0)

Learned step size quantization (Esser et al. 2020, arXiv:1902.08153) on the balanced grid -Q ... Q with Q = 2^(b-1), and
on LSQ's own grid -2^(b-1) ... 2^(b-1) - 1; one step per output channel. On grids with a dead zone the quotient w / s is
moved towards 0 before it is rounded, and the gradients ignore the move. It is written as in the paper's appendix A:
`grad_scale` scales a gradient and `round_pass` is the straight-through estimator. All inputs are float32 numbers;
PyTorch computes in float64. Each case has one channel per kind of weight: of ordinary size, mostly clipped, all inside
one step, ties between two codes and the grid's ends.
"""

import json
import math
import pathlib

import torch

FIXTURE = pathlib.Path(__file__).resolve().parent.parent / "QuantizationTests" / "Fixtures" / "lsq.json"
generator = torch.Generator().manual_seed(190208153)


def grad_scale(x, factor):
    # The paper's (x - x * factor).detach() + x * factor, but exact: rounding would move weights off the grid's ends.
    same = x.clone()
    same.register_hook(lambda gradient: gradient * factor)
    return same


def round_pass(x):
    return (x.round() - x).detach() + x


def moved(quotients, shrink):
    """The quotients moved towards 0 by `shrink`, the part of the dead zone beyond 1/2."""
    return (quotients.abs() - shrink).clamp(min=0).copysign(quotients)


def lsq(weight, scales, smallest, largest, shrink):
    per_channel = weight[0].numel()
    steps = grad_scale(scales, 1 / math.sqrt(per_channel * max(largest, 1)))
    steps = steps.reshape([-1] + [1] * (weight.dim() - 1))
    quotients = weight / steps
    quotients = quotients + (moved(quotients, shrink) - quotients).detach()
    return round_pass(quotients.clamp(smallest, largest)) * steps


def normal(*shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(torch.float32).to(torch.float64)


def numbers(tensor):
    return [float(f"{value:.9g}") for value in tensor.flatten().tolist()]


def tie_row(count, step, smallest, largest, shrink):
    """Ties around zero and at the ends, and the ends themselves; exact because s is a power of two."""
    multiples = [
        0.5, -0.5, 1.5, -1.5, largest - 0.5, smallest + 0.5, largest, smallest, largest + 0.5, smallest - 0.5]
    multiples = [math.copysign(abs(multiple) + shrink, multiple) for multiple in multiples]
    return torch.tensor([multiples[i % len(multiples)] * step for i in range(count)], dtype=torch.float64)


def case(bits, shape, levels, dead_zone=0.5):
    smallest, largest, shrink = -(levels // 2), (levels - 1) // 2, dead_zone - 0.5
    weight = normal(*shape)
    per_channel = weight[0].numel()
    row = weight.reshape(shape[0], per_channel)
    typical = 0.9 * row[0].abs().max().item() / -smallest
    scales = torch.tensor([typical, typical / 5, 4 * row[2].abs().max().item(), 0.25], dtype=torch.float64)
    scales = scales.to(torch.float32).to(torch.float64)
    row[3] = tie_row(per_channel, 0.25, smallest, largest, shrink)
    quotients = moved(row[:3] / scales[:3, None], shrink)
    assert ((quotients % 1) - 0.5).abs().min() > 1e-5, "a quotient is too near a tie for float32"
    for end in (smallest, largest):
        assert (quotients - end).abs().min() > 1e-5, "a quotient is too near the grid's end for float32"
    weight = weight.clone().requires_grad_()
    scales.requires_grad_()
    output = lsq(weight, scales, smallest, largest, shrink)
    upstream = normal(*shape)
    output.backward(upstream)
    return {
        "bits": bits,
        "levels": levels,
        "deadZone": dead_zone,
        "shape": list(shape),
        "weight": numbers(weight.detach()),
        "scales": numbers(scales.detach()),
        "upstream": numbers(upstream),
        "output": numbers(output.detach()),
        "weightGradient": numbers(weight.grad),
        "scaleGradient": numbers(scales.grad),
    }


def main():
    shapes = [(4, 13), (4, 3, 3, 3)]
    cases = [case(bits, shape, 2**bits + 1) for bits in range(1, 9) for shape in shapes]
    cases += [case(bits, shape, 2**bits) for bits in (1, 2, 3, 8) for shape in shapes]
    cases += [case(bits, shape, 2**bits + 1, 0.75) for bits in (1, 2, 4) for shape in shapes]
    FIXTURE.parent.mkdir(exist_ok=True)
    FIXTURE.write_text(json.dumps({"torch": torch.__version__, "cases": cases}, separators=(",", ":")) + "\n")
    print(f"{FIXTURE.name}: {len(cases)} cases, {FIXTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
