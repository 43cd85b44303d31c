# SPDX-License-Identifier: Apache-2.0
"""A step of BitsFusion's stage I: teacher forward, fake-quantized student, noise and feature loss, backward, AdamW.

For bfloat16, the teacher is in bfloat16 and the student uses autocast; its weights, scales and moments are float32.
"""

import torch
import torch.nn.functional as F

from fake_quantization import fake_quantize
from unets import build, take_inputs

FEATURE_WEIGHT = 0.01
LEARNING_RATE = 1e-5
ENDS = ("conv_in", "conv_out")


class QuantizedLinear(torch.nn.Linear):
    def forward(self, x):
        return F.linear(x, fake_quantize(self.weight, self.scales, self.maximum_code), self.bias)


class QuantizedConv2d(torch.nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, fake_quantize(self.weight, self.scales, self.maximum_code), self.bias)


def is_time_layer(name: str) -> bool:
    """Layers that are replaced by cached time features; they are neither quantized nor trained."""
    return name.startswith(("time_embedding.", "add_embedding.")) or ".time_emb_proj" in name


def maximum_codes(unet, settings: dict) -> dict:
    """The largest code of every linear and convolution layer except time layers."""
    return {
        name: settings["maximum_code_of_ends" if name in ENDS else "maximum_code"]
        for name, module in unet.named_modules()
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and not is_time_layer(name)}


def quantize(unet, tensors, maximum_codes: dict) -> list:
    """Fake-quantizes the layers that `maximum_codes` names; returns the scales."""
    scales = []
    for name, maximum_code in maximum_codes.items():
        module = unet.get_submodule(name)
        module.__class__ = QuantizedLinear if isinstance(module, torch.nn.Linear) else QuantizedConv2d
        module.maximum_code = maximum_code
        module.scales = torch.nn.Parameter(tensors[f"scales.{name}"])
        scales.append(module.scales)
    return scales


class Features:
    """Stores the outputs of a UNet's down and up blocks, after their resampling."""

    def __init__(self, unet):
        self.values = []
        for block in [*unet.down_blocks, *unet.up_blocks]:
            block.register_forward_hook(self.keep)

    def keep(self, _block, _inputs, output) -> None:
        self.values.append(output[0] if isinstance(output, tuple) else output)

    def take(self) -> list:
        values, self.values = self.values, []
        return values


class StageOne:
    def __init__(self, tensors, settings: dict, dtype: torch.dtype):
        self.dtype = dtype
        self.compared = settings["compared"].split()
        self.teacher = build(tensors, settings["config"], dtype).eval().requires_grad_(False)
        if settings["rounds_teacher"] and dtype == torch.float32:
            # The Swift program stores the teacher's weights, but not its biases and norms, in bfloat16.
            for parameter in self.teacher.parameters():
                if parameter.dim() > 1:
                    parameter.copy_(parameter.bfloat16())
        self.student = build(tensors, settings["config"], torch.float32).train()
        for name, parameter in self.student.named_parameters():
            parameter.requires_grad_(not is_time_layer(name))
        weights = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        scales = quantize(self.student, tensors, maximum_codes(self.student, settings))
        self.features = [Features(unet) for unet in (self.teacher, self.student)]
        self.teacher_inputs = take_inputs(tensors, dtype)
        self.student_inputs = take_inputs(tensors, torch.float32)
        self.optimizer = torch.optim.AdamW(
            [{"params": weights}, {"params": scales}],
            lr=LEARNING_RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, fused=True)

    def prepare(self) -> None:
        pass

    def losses(self) -> tuple:
        with torch.no_grad():
            target = self.teacher(**self.teacher_inputs).sample
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            prediction = self.student(**self.student_inputs).sample
        of_teacher, of_student = (features.take() for features in self.features)
        feature = sum(F.mse_loss(ours.float(), theirs.float()) for ours, theirs in zip(of_student, of_teacher))
        return F.mse_loss(prediction.float(), target.float()), feature

    def backward(self) -> tuple:
        self.optimizer.zero_grad(set_to_none=True)
        noise, feature = self.losses()
        (noise + FEATURE_WEIGHT * feature).backward()
        return noise, feature

    def run(self) -> None:
        self.backward()
        self.optimizer.step()

    def results(self) -> dict:
        noise, feature = self.backward()
        results = {"loss.noise": noise, "loss.feature": feature}
        for name, parameter in self.student.named_parameters():
            is_compared = not self.compared or name.startswith(tuple(path + "." for path in self.compared))
            if is_compared and parameter.grad is not None:
                # The name of the scales in the Swift program is that of the weight.
                results["gradient." + name.replace(".scales", ".weight.scale")] = parameter.grad
        return results


OPERATIONS = {"stage_one": StageOne}
