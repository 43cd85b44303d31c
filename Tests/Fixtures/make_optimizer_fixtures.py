# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/OptimizersTests/Fixtures/adamw.json: steps of torch.optim.AdamW with clipped gradients.

Run by hand:  python Tests/Fixtures/make_optimizer_fixtures.py      (torch 2.15.0)

Two groups with learning rates and weight decays of their own; gradients are given, clipped by their common norm with
torch.nn.utils.clip_grad_norm_, and some are small enough to stay. Inputs are normal numbers with three decimals;
PyTorch computes in float64.
"""

import json
import pathlib

import torch

FIXTURE = pathlib.Path(__file__).resolve().parent.parent / "OptimizersTests" / "Fixtures" / "adamw.json"
generator = torch.Generator().manual_seed(171105101)
SHAPES = [(3, 5), (7,), (2, 2, 3, 3)]


def normal(*shape):
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) * 1000).round() / 1000


def numbers(tensor):
    return [float(f"{value:.9g}") for value in tensor.flatten().tolist()]


def case(betas, rates, decays, maximum_norm, factors):
    parameters = [normal(*shape).requires_grad_() for shape in SHAPES]
    start = [numbers(p.detach()) for p in parameters]
    groups = [
        {"params": parameters[:2], "lr": rates[0], "weight_decay": decays[0]},
        {"params": parameters[2:], "lr": rates[1], "weight_decay": decays[1]},
    ]
    optimizer = torch.optim.AdamW(groups, betas=betas, eps=1e-8)
    steps = []
    for index, factor in enumerate(factors):
        size = 0.01 if index % 3 == 2 else 1.0
        gradients = [(normal(*shape) * size * 1000).round() / 1000 for shape in SHAPES]
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient.clone()
        limit = float("inf") if maximum_norm is None else maximum_norm
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate * factor
        optimizer.step()
        steps.append(
            {
                "factor": factor,
                "gradients": [numbers(g) for g in gradients],
                "norm": float(norm),
                "values": [numbers(p.detach()) for p in parameters],
            }
        )
    return {
        "beta1": betas[0],
        "beta2": betas[1],
        "rates": rates,
        "decays": decays,
        "maximumNorm": maximum_norm,
        "shapes": [list(shape) for shape in SHAPES],
        "start": start,
        "steps": steps,
    }


def main():
    cases = [
        case((0.9, 0.99), [0.01, 0.002], [0.1, 0.0], 1.0, [1.0, 1.0, 0.5, 0.25, 0.125, 1.0]),
        case((0.9, 0.999), [0.1, 1e-4], [0.0, 0.01], None, [1.0] * 6),
        case((0.5, 0.9), [1e-5, 0.05], [0.5, 0.5], 3.0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
    ]
    FIXTURE.parent.mkdir(exist_ok=True)
    FIXTURE.write_text(json.dumps({"torch": torch.__version__, "cases": cases}, separators=(",", ":")) + "\n")
    print(f"{FIXTURE.name}: {len(cases)} cases, {FIXTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
