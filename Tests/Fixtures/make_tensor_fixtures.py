# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/TensorsTests/Fixtures/*.json: operations of PyTorch with their gradients.

Run by hand:  python Tests/Fixtures/make_tensor_fixtures.py      (torch 2.15.0)

Inputs are normal numbers with three decimals, which both sides parse to the same float32. PyTorch computes in
float64, so the numbers are right to the last digit stored. Each case holds its options, the inputs in order, the
gradient that arrives at the output, the output, and the gradient of every input.
"""

import json
import pathlib

import torch
import torch.nn.functional as F

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "TensorsTests" / "Fixtures"
generator = torch.Generator().manual_seed(20240606)


def normal(*shape):
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) * 1000).round() / 1000


def tensor_json(tensor):
    return {"shape": list(tensor.shape), "values": [float(f"{value:.9g}") for value in tensor.flatten().tolist()]}


def as_float32(tensor):
    return tensor.to(torch.float32).to(torch.float64)


def case(options, inputs, operation):
    leaves = [as_float32(value).requires_grad_() for value in inputs]
    output = operation(*leaves)
    upstream = normal(*output.shape)
    output.backward(as_float32(upstream))
    return {
        "options": options,
        "inputs": [tensor_json(value) for value in inputs],
        "upstream": tensor_json(upstream),
        "output": tensor_json(output.detach()),
        "gradients": [tensor_json(leaf.grad) for leaf in leaves],
    }


def convolutions():
    # batch, IC, H, W, OC, K, stride, (top, left, bottom, right)
    for n, ic, h, w, oc, k, stride, pads in [
        (2, 3, 6, 5, 4, 3, 1, (1, 1, 1, 1)),
        (1, 2, 7, 8, 3, 3, 2, (1, 1, 1, 1)),
        (2, 3, 6, 6, 2, 3, 2, (0, 0, 1, 1)),
        (3, 4, 5, 5, 3, 1, 1, (0, 0, 0, 0)),
        (1, 2, 9, 9, 2, 5, 1, (2, 2, 2, 2)),
        (1, 5, 13, 12, 2, 3, 1, (1, 1, 1, 1)),
    ]:
        top, left, bottom, right = pads
        yield case(
            {"stride": stride, "paddings": list(pads)},
            [normal(n, ic, h, w), normal(oc, ic, k, k), normal(oc)],
            lambda x, weight, bias: F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, stride=stride),
        )


def group_norms():
    for shape, groups in [((2, 6, 4, 3), 3), ((1, 8, 5), 2), ((3, 4), 1), ((1, 16, 5, 7), 4)]:
        for silu in (False, True):
            def operation(x, weight, bias):
                y = F.group_norm(x, groups, weight, bias, eps=1e-5)
                return F.silu(y) if silu else y

            channels = shape[1]
            inputs = [normal(*shape), normal(channels), normal(channels)]
            yield case({"groups": groups, "silu": silu}, inputs, operation)


def layer_norms():
    for shape in [(2, 5, 8), (3, 37), (1, 1, 130)]:
        width = shape[-1]
        yield case({}, [normal(*shape)], lambda x: F.layer_norm(x, (width,)))
        yield case(
            {},
            [normal(*shape), normal(width), normal(width)],
            lambda x, weight, bias: F.layer_norm(x, (width,), weight, bias),
        )


def attentions():
    # batch, T, S, heads, width of a head, causal, scale
    for n, t, s, heads, width, causal, scale in [
        (2, 4, 7, 3, 5, False, None),
        (1, 9, 9, 2, 4, True, None),
        (1, 3, 530, 1, 2, False, None),
        (1, 70, 5, 1, 3, False, 0.25),
    ]:
        def operation(q, k, v):
            split = [x.unflatten(-1, (heads, width)).transpose(1, 2) for x in (q, k, v)]
            y = F.scaled_dot_product_attention(*split, is_causal=causal, scale=scale)
            return y.transpose(1, 2).flatten(2)

        options = {"heads": heads, "causal": causal} | ({} if scale is None else {"scale": scale})
        yield case(options, [normal(n, length, heads * width) for length in (t, s, s)], operation)


def activations():
    sweep = torch.cat([torch.linspace(-10, 10, 161, dtype=torch.float64), normal(40)])
    for name, operation in [
        ("silu", F.silu),
        ("gelu", F.gelu),
        ("unused", None),
        ("quickGELU", lambda x: x * torch.sigmoid(1.702 * x)),
        ("mish", F.mish),
        ("unused", None),
    ]:
        if operation is None:
            normal(*sweep.shape)  # a removed case; keeps the random numbers of the later ones
            continue
        yield case({"name": name}, [sweep], operation)

    def geglu(x):
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)

    yield case({"name": "geglu"}, [normal(5, 34)], geglu)
    yield case({"name": "softmax"}, [normal(4, 19) * 3], lambda x: F.softmax(x, dim=-1))
    yield case({"name": "l2Normalized"}, [normal(4, 19)], lambda x: F.normalize(x, dim=-1))


def resizings():
    for shape, height, width in [
            ((1, 2, 3, 4), 6, 8), ((1, 1, 3, 5), 5, 9), ((1, 2, 4, 3), 7, 6), ((1, 1, 6, 5), 4, 3)]:
        yield case(
            {"height": height, "width": width},
            [normal(*shape)],
            lambda x: F.interpolate(x, size=(height, width), mode="nearest"),
        )


for name, cases in {
    "conv2d": convolutions,
    "group-norm": group_norms,
    "layer-norm": layer_norms,
    "attention": attentions,
    "activations": activations,
    "resizing": resizings,
}.items():
    path = FIXTURES / f"{name}.json"
    path.write_text(json.dumps({"torch": torch.__version__, "cases": list(cases())}, separators=(",", ":")) + "\n")
    assert path.stat().st_size < 100_000, path
    print(path.name, path.stat().st_size)
