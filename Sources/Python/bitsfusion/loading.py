# SPDX-License-Identifier: Apache-2.0
"""Build models and pipelines of diffusers and transformers from packed checkpoints."""

import pathlib
import tempfile

import torch
from torch import nn

from . import fields
from .errors import ComponentError, FormatError
from .modules import CLASSES, PackedWeight
from .packed_file import PackedFile, dequantized
from .time_features import replace_time_layers

CLASS_NAMES = {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection", "vae": "AutoencoderKL"}

# Components without which pipelines sample. diffusers' _optional_components has those too that prompts need.
OPTIONAL = {"safety_checker", "feature_extractor", "image_encoder"}


def load_pipeline(path, dtype=torch.float32, device="cpu", dense=False, **components):
    """A diffusers pipeline with the components of a packed checkpoint.

    Args:
        path: the file.
        dtype: type of activations, of the parameters that are not quantized, and of dequantized weights: float32,
            float16 or bfloat16.
        device: device of the models, such as "cuda".
        dense: True: ordinary modules with dense weights. False: the quantized layers are PackedLinear, PackedConv2d
            and PackedEmbedding, whose weights stay codes in memory. Both compute the same.
        components: components in place of those of the file, or that the file does not have, by diffusers' names:
            `vae=`, `text_encoder=`, `tokenizer=`, `scheduler=`, `safety_checker=`, `feature_extractor=`. None leaves a
            component out where diffusers allows it.

    Returns:
        the pipeline of the class that the file names, such as StableDiffusionPipeline or StableDiffusionXLPipeline.

    Raises:
        FormatError: the file is not valid.
        ComponentError: a component is not in the file and was not passed.
    """
    diffusers = _diffusers()
    with PackedFile(path) as file:
        index = file.json("model_index")
        if file.tokenizer not in (None, "CLIPTokenizer") or index is None and "vae" not in file.components:
            raise ComponentError(
                f"{file.path}: has no pipeline of diffusers: it is a pixel-space model or its tokenizer "
                f"{file.tokenizer} is not part of transformers; load the UNet with bitsfusion.load_unet, or sample "
                "with `bitsfusion sample`")
        name = (index or {}).get("_class_name", _default_class(file))
        pipeline_class = getattr(diffusers, name, None)
        if pipeline_class is None:
            raise FormatError(f"{file.path}: /header/model_index: diffusers {diffusers.__version__} has no class "
                              f"{name}; update diffusers")
        required, options = pipeline_class._get_signature_keys(pipeline_class)
        unknown = sorted(set(components) - set(required))
        if unknown:
            raise ComponentError(f"{name} takes no {', '.join(unknown)}; its components are {', '.join(required)}")
        names = [key for key in required if key in file.components and key not in components]
        parts = {key: None for key in required if key in OPTIONAL}
        parts |= {key: (index or {})[key] for key in options if key in (index or {})}
        if "safety_checker" in required and components.get("safety_checker") is None:
            parts["requires_safety_checker"] = False
        # Missing components are reported before the models are decoded, which takes seconds.
        for key in required:
            if key not in OPTIONAL and key not in components and key not in names:
                parts[key] = _small_component(file, key)
        parts |= _models(file, names, dtype, device, dense) | components
    return pipeline_class(**parts)


def load_unet(path, dtype=torch.float32, device="cpu", dense=False):
    """The UNet2DConditionModel of a packed checkpoint; the arguments are those of `load_pipeline`.

    Raises:
        FormatError: the file is not valid, or its main component is not a UNet2DConditionModel.
    """
    _diffusers()
    with PackedFile(path) as file:
        return _models(file, ["unet"], dtype, device, dense)["unet"]


def dequantized_state_dict(path, component="unet", dtype=None):
    """The dense weights and all other parameters of a component, without building a model.

    Args:
        path: the file.
        component: such as unet, text_encoder, vae.
        dtype: type of all tensors; None: float32 for quantized layers, others as in the file.

    Returns:
        key: tensor, with the names of diffusers and transformers. Time layers are missing if the file has cached time
        features, and the encoder of the VAE if it was left out.
    """
    with PackedFile(path) as file:
        return _dense_state(file, component, dtype)


def packed_bytes(model):
    """The bytes of all codes and scales of a model or pipeline in memory."""
    parts = [model] if isinstance(model, nn.Module) else model.components.values()
    return sum(module.packed_bytes() for part in parts if isinstance(part, nn.Module)
               for module in part.modules() if isinstance(module, PackedWeight))


def _diffusers():
    try:
        import diffusers
        import transformers  # noqa: F401
    except ImportError as error:
        raise ImportError(f"bitsfusion: {error.name} is not installed; `pip install bitsfusion[diffusers]`, or read "
                          "weights with bitsfusion.dequantized_state_dict, which does not need it") from None
    return diffusers


def _default_class(file):
    """The pipeline of a file without model_index.json."""
    return "StableDiffusionXLPipeline" if "text_encoder_2" in file.components else "StableDiffusionPipeline"


def _small_component(file, name):
    """The tokenizer or scheduler `name` of a file.

    Raises:
        ComponentError: the file does not have the component.
    """
    if name.startswith("tokenizer") and (texts := file.tokenizer_files(name)):
        import transformers

        with tempfile.TemporaryDirectory() as folder:
            for file_name, text in texts.items():
                if pathlib.PurePath(file_name).name != file_name:
                    raise FormatError(f"{file.path}: /tokenizers/{name}/{file_name}: is not the name of a file")
                pathlib.Path(folder, file_name).write_bytes(text)
            return transformers.CLIPTokenizer.from_pretrained(folder)
    if name == "scheduler" and (config := file.json("scheduler")):
        import diffusers

        scheduler_class = getattr(diffusers, config.get("_class_name", ""), None)
        if scheduler_class is None:
            raise FormatError(f"{file.path}: /header/scheduler: diffusers {diffusers.__version__} has no scheduler "
                              f"{config.get('_class_name')}; pass scheduler=")
        return scheduler_class.from_config(config)
    hint = "; `bitsfusion pack` stores the components that the imported model has" if name != "scheduler" else ""
    raise ComponentError(f"{file.path}: has no {name}; pass {name}= to load_pipeline{hint}")


def _models(file, names, dtype, device, dense):
    """Models by name, on `device`, in evaluation mode."""
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError(f"dtype: expected float32, float16 or bfloat16, found {dtype}")
    models = {name: _empty_model(file, name) for name in names}
    records = {name: file.layers(name) for name in names}
    for name in names:
        _check_layers(file, name, models[name], records[name])
    # All models at once: many layers are decoded together.
    layers = [(name, layer) for name in names for layer in records[name].values()]
    if dense:
        weights = file.decode([layer for _, layer in layers], _dense_tensor)
    else:
        weights = file.decode([layer for _, layer in layers], lambda layer, codes: _packed_tensors(layer, codes, dtype))
    states = {name: {} for name in names}
    for (name, layer), weight in zip(layers, weights):
        path = _module_path(models[name], layer.path)
        if dense:
            states[name][path + ".weight"] = weight.to(dtype)
        else:
            module = models[name].get_submodule(path)
            parent, _, attribute = path.rpartition(".")
            setattr(models[name].get_submodule(parent), attribute, CLASSES[type(module)](weight, module))
    for name, model in models.items():
        for key, values in file.parameters(name).items():
            states[name][_module_path(model, key)] = torch.from_numpy(values).to(dtype)
        _load(file, name, model, states[name], dtype)
        model.to(device).eval()
    return models


def _empty_model(file, name):
    """The model of a component, with its parameters on the meta device."""
    import diffusers
    import transformers

    config = file.json(name)
    if config is None:
        raise ComponentError(f"{file.path}: has no {name}, only {', '.join(file.components)}")
    class_name = file.architecture if name == file.main else CLASS_NAMES.get(name)
    if name == "unet" and class_name != "UNet2DConditionModel" or class_name is None:
        raise FormatError(f"{file.path}: /header/{name}: components of the class {class_name} are not supported")
    with torch.device("meta"):
        if name in ("text_encoder", "text_encoder_2"):
            return getattr(transformers, class_name)(transformers.CLIPTextConfig(**config))
        return getattr(diffusers, class_name).from_config(config)


def _module_path(model, key):
    """The path in `model` of a key of the file: some versions of transformers have no `text_model.` in their names."""
    return key.removeprefix("text_model.") if not hasattr(model, "text_model") else key


def _check_layers(file, name, model, layers):
    """Checks that the packed layers are layers of the model with the same shape."""
    modules = dict(model.named_modules())
    for layer in layers.values():
        module = modules.get(_module_path(model, layer.path))
        if type(module) not in CLASSES:
            raise FormatError(f"{file.path}: packed layer {layer.path}: the {name} has no such layer; the file does "
                              "not belong to its config")
        if tuple(module.weight.shape) != layer.shape:
            raise FormatError(f"{file.path}: packed layer {layer.path}: expected the shape "
                              f"{list(module.weight.shape)}, found {list(layer.shape)}")


def _packed_tensors(layer, codes, dtype):
    """The arguments of PackedWeight."""
    parts = fields.pack(codes.reshape(layer.shape[0], -1), layer.levels)
    return {"shape": layer.shape, "levels": layer.levels, "parts": [torch.from_numpy(part) for part in parts],
            "scale": torch.from_numpy(layer.scale), "dtype": dtype}


def _dense_tensor(layer, codes):
    return torch.from_numpy(dequantized(layer, codes))


def _dense_state(file, component, dtype):
    layers = file.layers(component)
    weights = file.decode(list(layers.values()), _dense_tensor)
    state = {f"{path}.weight": weight for path, weight in zip(layers, weights)}
    for key, values in file.parameters(component).items():
        if key in state:
            raise FormatError(f"{file.path}: {key}: is stored twice, packed and dense")
        state[key] = torch.from_numpy(values)
    return state if dtype is None else {key: value.to(dtype) for key, value in state.items()}


def _load(file, name, model, state, dtype):
    """Puts parameters into a model whose parameters are on the meta device, and checks that none is missing."""
    if name == "unet" and (features := file.time_features()) is not None:
        replace_time_layers(model, file.path, *features, dtype)
    if name == "vae" and not any(key.startswith("encoder.") for key in state):
        model.encoder = model.quant_conv = LeftOutEncoder(file.path)
    for module in model.modules():
        # Buffers that are computed, not loaded: the positions 0 ... T - 1 of CLIP's text model.
        positions = module._buffers.get("position_ids")
        if positions is not None:
            module.position_ids = torch.arange(positions.shape[-1]).expand(positions.shape)
    expected = {key: value.shape for key, value in model.state_dict().items() if value.is_meta}
    for key, value in state.items():
        if key not in expected:
            raise FormatError(f"{file.path}: {name}: {key}: the model has no such parameter, or it is stored twice")
        if value.shape != expected[key]:
            raise FormatError(f"{file.path}: {name}: {key}: expected the shape {list(expected[key])}, found "
                              f"{list(value.shape)}")
    missing = sorted(set(expected) - set(state))
    if missing:
        raise FormatError(f"{file.path}: {name}: {len(missing)} parameters are missing, such as {missing[0]}; make the "
                          "packed file again")
    model.load_state_dict(state, strict=False, assign=True)


class LeftOutEncoder(nn.Module):
    """In the place of a VAE's encoder that the file does not have."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def forward(self, *_):
        raise ComponentError(f"{self.path}: has no encoder of the VAE, which image inputs need; pack without "
                             "`--no-vae-encoder`, or pass vae= to load_pipeline")
