# SPDX-License-Identifier: Apache-2.0
"""The parameters of Stable Diffusion 1.5 and SDXL base: their names and shapes in diffusers and in single files.

`unet`, `vae` and `text_encoder` give the shapes of a config. `ldm_tensors` gives the tensors of a component in a
single-file checkpoint (LDM names; OpenCLIP's names for the second text encoder of SDXL) and what each is made of.
"""

import math


class Shapes(dict):
    """Shapes by key, in the order in which they are added."""

    def linear(self, name, inputs, outputs, bias=True):
        self[f"{name}.weight"] = (outputs, inputs)
        if bias:
            self[f"{name}.bias"] = (outputs,)

    def conv(self, name, inputs, outputs, size):
        self[f"{name}.weight"] = (outputs, inputs, size, size)
        self[f"{name}.bias"] = (outputs,)

    def norm(self, name, channels):
        self[f"{name}.weight"] = self[f"{name}.bias"] = (channels,)

    def resnet(self, name, inputs, outputs, time):
        self.norm(f"{name}.norm1", inputs)
        self.conv(f"{name}.conv1", inputs, outputs, 3)
        if time:
            self.linear(f"{name}.time_emb_proj", time, outputs)
        self.norm(f"{name}.norm2", outputs)
        self.conv(f"{name}.conv2", outputs, outputs, 3)
        if inputs != outputs:
            self.conv(f"{name}.conv_shortcut", inputs, outputs, 1)

    def transformer(self, name, channels, context, layers, is_linear):
        project = self.linear if is_linear else lambda *arguments: self.conv(*arguments, 1)
        self.norm(f"{name}.norm", channels)
        project(f"{name}.proj_in", channels, channels)
        for layer in range(layers):
            block = f"{name}.transformer_blocks.{layer}"
            for index, width in (1, channels), (2, context):
                self.norm(f"{block}.norm{index}", channels)
                self.linear(f"{block}.attn{index}.to_q", channels, channels, bias=False)
                self.linear(f"{block}.attn{index}.to_k", width, channels, bias=False)
                self.linear(f"{block}.attn{index}.to_v", width, channels, bias=False)
                self.linear(f"{block}.attn{index}.to_out.0", channels, channels)
            self.norm(f"{block}.norm3", channels)
            self.linear(f"{block}.ff.net.0.proj", channels, 8 * channels)
            self.linear(f"{block}.ff.net.2", 4 * channels, channels)
        project(f"{name}.proj_out", channels, channels)


def unet(config):
    """The parameters of a UNet2DConditionModel."""
    shapes = Shapes()
    channels, context = config["block_out_channels"], config["cross_attention_dim"]
    layers, last = config["layers_per_block"], len(channels) - 1
    depths = config.get("transformer_layers_per_block", 1)
    depths = depths if isinstance(depths, list) else [depths] * len(channels)
    time = 4 * channels[0]

    def transformer(name, level):
        shapes.transformer(name, channels[level], context, depths[level], config.get("use_linear_projection", False))

    shapes.conv("conv_in", config["in_channels"], channels[0], 3)
    shapes.linear("time_embedding.linear_1", channels[0], time)
    shapes.linear("time_embedding.linear_2", time, time)
    if config.get("addition_embed_type"):
        shapes.linear("add_embedding.linear_1", config["projection_class_embeddings_input_dim"], time)
        shapes.linear("add_embedding.linear_2", time, time)
    skips = [channels[0]]
    for level, kind in enumerate(config["down_block_types"]):
        for layer in range(layers):
            name = f"down_blocks.{level}"
            shapes.resnet(f"{name}.resnets.{layer}", skips[-1], channels[level], time)
            if kind.startswith("CrossAttn"):
                transformer(f"{name}.attentions.{layer}", level)
            skips.append(channels[level])
        if level < last:
            shapes.conv(f"{name}.downsamplers.0.conv", channels[level], channels[level], 3)
            skips.append(channels[level])
    shapes.resnet("mid_block.resnets.0", channels[last], channels[last], time)
    transformer("mid_block.attentions.0", last)
    shapes.resnet("mid_block.resnets.1", channels[last], channels[last], time)
    width = channels[last]
    for index, kind in enumerate(config["up_block_types"]):
        level, name = last - index, f"up_blocks.{index}"
        for layer in range(layers + 1):
            shapes.resnet(f"{name}.resnets.{layer}", width + skips.pop(), channels[level], time)
            width = channels[level]
            if kind.startswith("CrossAttn"):
                transformer(f"{name}.attentions.{layer}", level)
        if level:
            shapes.conv(f"{name}.upsamplers.0.conv", width, width, 3)
    shapes.norm("conv_norm_out", channels[0])
    shapes.conv("conv_out", channels[0], config["out_channels"], 3)
    return shapes


def vae(config):
    """The parameters of an AutoencoderKL."""
    shapes = Shapes()
    channels, latent = config["block_out_channels"], config["latent_channels"]

    def mid(side):
        width = channels[-1]
        shapes.resnet(f"{side}.mid_block.resnets.0", width, width, 0)
        shapes.norm(f"{side}.mid_block.attentions.0.group_norm", width)
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            shapes.linear(f"{side}.mid_block.attentions.0.{name}", width, width)
        shapes.resnet(f"{side}.mid_block.resnets.1", width, width, 0)

    def blocks(side, name, widths, layers, resampler):
        width = widths[0]
        for index, outputs in enumerate(widths):
            for layer in range(layers):
                shapes.resnet(f"{side}.{name}.{index}.resnets.{layer}", width, outputs, 0)
                width = outputs
            if index < len(widths) - 1:
                shapes.conv(f"{side}.{name}.{index}.{resampler}.0.conv", width, width, 3)

    shapes.conv("encoder.conv_in", config["in_channels"], channels[0], 3)
    blocks("encoder", "down_blocks", channels, config["layers_per_block"], "downsamplers")
    mid("encoder")
    shapes.norm("encoder.conv_norm_out", channels[-1])
    shapes.conv("encoder.conv_out", channels[-1], 2 * latent, 3)
    shapes.conv("quant_conv", 2 * latent, 2 * latent, 1)
    shapes.conv("post_quant_conv", latent, latent, 1)
    shapes.conv("decoder.conv_in", latent, channels[-1], 3)
    mid("decoder")
    blocks("decoder", "up_blocks", channels[::-1], config["layers_per_block"] + 1, "upsamplers")
    shapes.norm("decoder.conv_norm_out", channels[0])
    shapes.conv("decoder.conv_out", channels[0], config["out_channels"], 3)
    return shapes


def text_encoder(config):
    """The parameters of a CLIPTextModel or a CLIPTextModelWithProjection."""
    shapes, width = Shapes(), config["hidden_size"]
    shapes["text_model.embeddings.token_embedding.weight"] = (config["vocab_size"], width)
    shapes["text_model.embeddings.position_embedding.weight"] = (config["max_position_embeddings"], width)
    for layer in range(config["num_hidden_layers"]):
        name = f"text_model.encoder.layers.{layer}"
        shapes.norm(f"{name}.layer_norm1", width)
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes.linear(f"{name}.self_attn.{projection}", width, width)
        shapes.norm(f"{name}.layer_norm2", width)
        shapes.linear(f"{name}.mlp.fc1", width, config["intermediate_size"])
        shapes.linear(f"{name}.mlp.fc2", config["intermediate_size"], width)
    shapes.norm("text_model.final_layer_norm", width)
    if config["architectures"] == ["CLIPTextModelWithProjection"]:
        shapes.linear("text_projection", width, config["projection_dim"], bias=False)
    return shapes


def replaced(text, pairs):
    for old, new in pairs:
        text = text.replace(old, new)
    return text


RESNET = [("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"),
          ("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection")]
ENDS = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}


def ldm_unet_key(key, config):
    """The LDM name of a UNet's parameter, or of a layer if `key` names a layer."""
    for name, ldm in ENDS.items():
        if key.startswith(name):
            return key.replace(name, ldm, 1)
    layers = config["layers_per_block"]
    parts = key.split(".")
    if parts[0] == "mid_block":
        index = int(parts[2])
        block, rest = f"middle_block.{1 if parts[1] == 'attentions' else 2 * index}", parts[3:]
    else:
        level, kind, index, rest = int(parts[1]), parts[2], int(parts[3]), parts[4:]
        if kind == "downsamplers":
            return f"input_blocks.{(layers + 1) * (level + 1)}.0.op." + ".".join(rest[1:])
        if kind == "upsamplers":
            position = 2 if config["up_block_types"][level].startswith("CrossAttn") else 1
            return f"output_blocks.{(layers + 1) * level + layers}.{position}.conv." + ".".join(rest[1:])
        number = (layers + 1) * level + index + (1 if parts[0] == "down_blocks" else 0)
        block = "input_blocks" if parts[0] == "down_blocks" else "output_blocks"
        block = f"{block}.{number}.{1 if kind == 'attentions' else 0}"
    rest = ".".join(rest)
    return f"{block}.{replaced(rest, RESNET) if 'resnets' in parts else rest}"


def ldm_vae_key(key, config):
    """The LDM name of a VAE's parameter."""
    key = replaced(key, [
        ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0", "mid.attn_1"), ("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"),
        ("to_out.0", "proj_out"), ("conv_norm_out", "norm_out"), ("conv_shortcut", "nin_shortcut"),
        ("resnets", "block"), ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"), ("down_blocks", "down")])
    if ".up_blocks." in key:
        head, tail = key.split(".up_blocks.")
        index, tail = tail.split(".", 1)
        # The blocks of the decoder are numbered from the image's side.
        key = f"{head}.up.{len(config['block_out_channels']) - 1 - int(index)}.{tail}"
    return key


OPEN_CLIP = [
    ("text_model.embeddings.token_embedding", "token_embedding"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.encoder.layers", "transformer.resblocks"), ("text_model.final_layer_norm", "ln_final"),
    ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.out_proj", "attn.out_proj"), ("text_projection.weight", "text_projection")]


def ldm_tensors(component, shapes, config, is_xl):
    """The tensors of a single file: LDM key: (shape, keys of the joined diffusers tensors, whether transposed)."""
    tensors = {}
    for key, shape in shapes.items():
        parts, transposed = [key], False
        if component == "unet":
            name = "model.diffusion_model." + ldm_unet_key(key, config)
        elif component == "vae":
            name = "first_stage_model." + ldm_vae_key(key, config)
            if ".attentions." in key and len(shape) == 2:
                shape = (*shape, 1, 1)
        elif component == "text_encoder":
            name = ("conditioner.embedders.0." if is_xl else "cond_stage_model.") + "transformer." + key
        elif ".self_attn.q_proj." in key:
            # OpenCLIP joins the three projections.
            parts = [key.replace("q_proj", f"{letter}_proj") for letter in "qkv"]
            shape = (3 * shape[0], *shape[1:])
            name = "conditioner.embedders.1.model." + replaced(key, OPEN_CLIP).replace(
                "self_attn.q_proj.", "attn.in_proj_")
        elif ".k_proj." in key or ".v_proj." in key:
            continue
        else:
            name = "conditioner.embedders.1.model." + replaced(key, OPEN_CLIP)
            transposed = key == "text_projection.weight"
            shape = shape[::-1] if transposed else shape
        tensors[name] = (shape, parts, transposed)
    return tensors


def count(shapes):
    """The number of parameters."""
    return sum(math.prod(shape) for shape in shapes.values())
