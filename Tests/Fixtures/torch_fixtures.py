# SPDX-License-Identifier: Apache-2.0
"""What the fixtures of PyTorch models have in common: weights by formula, gradient summaries and compact JSON."""

import json
import pathlib

import torch

from fixture_values import gradient_summary, parameter

torch.set_num_threads(1)
FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "NetworksTests" / "Fixtures"


def load_formula(model):
    """Gives each parameter of `model` the value that `fixture_values.parameter` computes from its key."""
    with torch.no_grad():
        for key, value in model.named_parameters():
            value.copy_(torch.as_tensor(parameter(key, value.shape)))


def gradient_summaries(model):
    """The summary of each parameter's gradient, after a backward pass that reached all of them."""
    return {key: gradient_summary(key, value.grad.numpy()) for key, value in model.named_parameters()}


def write(name, fixture):
    """Writes Tests/NetworksTests/Fixtures/NAME.json."""
    path = FIXTURES / f"{name}.json"
    path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
    print(path.name, path.stat().st_size)
