# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/NetworksTests/Fixtures/text-encoder-*.json: outputs and gradients of tiny CLIP text encoders.

Run by hand:  python Tests/Fixtures/make_text_encoder_fixtures.py      (torch 2.15.0, transformers 5.24.0, numpy)

Weights and the loss's gradients come from fixture_values.py. The loss reaches every output: it is the sum of the
products of each output with a tensor of its own.
"""

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from fixture_values import rounded, unit
from torch_fixtures import gradient_summaries, load_formula, write

# The end token 9 occurs once, twice (as padding after the end of the text, where the first one counts), never.
IDS = [[1, 5, 2, 8, 9, 0], [3, 9, 9, 1, 7, 9], [4, 3, 0, 0, 6, 6]]

# name: (class, config)
ENCODERS = {
    "clip": (CLIPTextModel, dict(
        vocab_size=11, hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=6, hidden_act="quick_gelu", eos_token_id=9,
        attention_dropout=0.25)),
    # Like Stable Diffusion XL's second encoder.
    "clip-projection": (CLIPTextModelWithProjection, dict(
        vocab_size=10, hidden_size=8, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=8, hidden_act="gelu", eos_token_id=9, layer_norm_eps=1e-3, projection_dim=5)),
    # `eos_token_id` 2 in the configs of early checkpoints: the largest id ends the text.
    "clip-largest-id": (CLIPTextModelWithProjection, dict(
        vocab_size=10, hidden_size=6, intermediate_size=9, num_hidden_layers=1, num_attention_heads=3,
        max_position_embeddings=6, eos_token_id=2, projection_dim=7)),
    # The encoder of the shapes world: the extension `causal_attention`, which transformers does not know.
    "shapes": (CLIPTextModel, dict(
        vocab_size=12, hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=8, hidden_act="gelu", eos_token_id=0, causal_attention=False)),
}


def remove_causal_mask(encoder):
    forward = encoder.forward
    encoder.forward = lambda inputs_embeds, attention_mask, is_causal, **rest: forward(
        inputs_embeds=inputs_embeds, attention_mask=None, is_causal=False, **rest)


def make(name, model_class, config):
    model = model_class(CLIPTextConfig(bos_token_id=0, pad_token_id=1, **config)).eval()
    # Checkpoints of both classes have the prefix `text_model.`; the module tree of CLIPTextModel does not.
    root = torch.nn.ModuleDict({"text_model": model}) if model_class is CLIPTextModel else model
    load_formula(root)
    if config.get("causal_attention") is False:
        remove_causal_mask(model.encoder)
    ids = torch.tensor(IDS)
    output = model(ids, output_hidden_states=True)
    pooled = model.text_model(ids).pooler_output if model_class is CLIPTextModelWithProjection else output.pooler_output
    outputs = {"last_hidden_state": output.last_hidden_state, "pooler_output": pooled}
    outputs |= {f"hidden_states.{index}": state for index, state in enumerate(output.hidden_states)}
    if "text_embeds" in output:
        outputs["text_embeds"] = output.text_embeds
    loss = sum((value * torch.from_numpy(unit("loss." + key, value.shape))).sum() for key, value in outputs.items())
    loss.backward()
    write(f"text-encoder-{name}", {
        "config": config, "ids": ids.flatten().tolist(), "batch": len(IDS),
        "outputs": {key: {"shape": list(value.shape), "values": rounded(value.detach())}
                    for key, value in outputs.items()},
        "gradients": gradient_summaries(root)})


for name, (model_class, config) in ENCODERS.items():
    make(name, model_class, config)
