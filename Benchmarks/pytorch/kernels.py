# SPDX-License-Identifier: Apache-2.0
"""Single operations in PyTorch's fastest eager form: inference mode, fused calls if available, NCHW."""

import torch
import torch.nn.functional as F

from fake_quantization import fake_quantize


class Kernel:
    """An operation whose pass sets `self.output`."""

    def __init__(self, tensors: dict, settings: dict, dtype: torch.dtype):
        self.settings = settings
        self.dtype = dtype
        self.output = None
        self.take({key.split(".")[-1] if key.startswith(("conv.", "linear.")) else key: value.to(dtype)
                   for key, value in tensors.items()})

    def take(self, tensors: dict) -> None:
        self.tensors = tensors

    def __getattr__(self, name: str):
        try:
            return self.__dict__["tensors"][name]
        except KeyError:
            raise AttributeError(name) from None

    def prepare(self) -> None:
        pass

    def compute(self):
        raise NotImplementedError

    def run(self) -> None:
        with torch.inference_mode():
            self.output = self.compute()

    def results(self) -> dict:
        self.prepare()
        self.run()
        return {"output": self.output}


class Conv3x3(Kernel):
    def compute(self):
        return F.conv2d(self.x, self.weight, self.bias, padding=1)


class Conv3x3Backward(Kernel):
    """One of the two gradients, computed by the operator that autograd calls."""

    mask = [False, False, False]

    def compute(self):
        gradients = torch.ops.aten.convolution_backward(
            self.gradient, self.x, self.weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, self.mask)
        return gradients[self.mask.index(True)]


class Conv3x3ToData(Conv3x3Backward):
    mask = [True, False, False]


class Conv3x3ToWeight(Conv3x3Backward):
    mask = [False, True, False]


class Linear(Kernel):
    def compute(self):
        return F.linear(self.x, self.weight, self.bias)


class LinearToData(Kernel):
    def compute(self):
        return self.gradient @ self.weight


class LinearToWeight(Kernel):
    def compute(self):
        return self.gradient.t() @ self.x


def attend(q, k, v, heads: int):
    """As diffusers' AttnProcessor2_0: [B, T, H * d] -> [B, T, H * d]."""
    batch, _, width = q.shape
    split = lambda tokens: tokens.view(batch, -1, heads, width // heads).transpose(1, 2)
    return F.scaled_dot_product_attention(split(q), split(k), split(v)).transpose(1, 2).reshape(q.shape)


class Attention(Kernel):
    def compute(self):
        return attend(self.q, self.k, self.v, self.settings["heads"])


class AttentionBackward(Kernel):
    names = ["q", "k", "v"]

    def prepare(self) -> None:
        leaves = [self.tensors[name].detach().requires_grad_() for name in self.names]
        self.leaves = leaves
        self.made = attend(*leaves, self.settings["heads"])

    def run(self) -> None:
        self.output = torch.autograd.grad(self.made, self.leaves, self.gradient)

    def results(self) -> dict:
        self.prepare()
        self.run()
        return dict(zip(self.names, self.output))


class GroupNormSiLU(Kernel):
    def compute(self):
        return F.silu(F.group_norm(self.x, self.settings["groups"], self.weight, self.bias, 1e-5), inplace=True)


class GEGLU(Kernel):
    def compute(self):
        value, gate = self.x.chunk(2, dim=-1)
        return value * F.gelu(gate)


class FakeQuantize(Kernel):
    def compute(self):
        return fake_quantize(self.weight, self.scales, self.settings["maximum_code"])


class FakeQuantizeBackward(Kernel):
    names = ["weight", "scales"]

    def prepare(self) -> None:
        leaves = [self.tensors[name].detach().requires_grad_() for name in self.names]
        self.leaves = leaves
        self.made = fake_quantize(*leaves, self.settings["maximum_code"])

    def run(self) -> None:
        self.output = torch.autograd.grad(self.made, self.leaves, self.gradient)

    def results(self) -> dict:
        self.prepare()
        self.run()
        return dict(zip(self.names, self.output))


class AdamW(Kernel):
    """One update of the fused optimizer."""

    def take(self, tensors: dict) -> None:
        self.tensors = {}
        self.weights = {key: torch.nn.Parameter(value) for key, value in tensors.items() if key.startswith("weight.")}
        for key, weight in self.weights.items():
            weight.grad = tensors[key.replace("weight.", "gradient.")]
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, fused=True)

    def run(self) -> None:
        self.optimizer.step()

    def results(self) -> dict:
        self.run()
        return self.weights


OPERATIONS = {
    "conv3x3": Conv3x3,
    "conv3x3_to_data": Conv3x3ToData,
    "conv3x3_to_weight": Conv3x3ToWeight,
    "linear": Linear,
    "linear_to_data": LinearToData,
    "linear_to_weight": LinearToWeight,
    "attention": Attention,
    "attention_backward": AttentionBackward,
    "groupnorm_silu": GroupNormSiLU,
    "geglu": GEGLU,
    "fake_quantize": FakeQuantize,
    "fake_quantize_backward": FakeQuantizeBackward,
    "adamw": AdamW,
}
