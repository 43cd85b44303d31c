# SPDX-License-Identifier: Apache-2.0
"""Writes the fixtures of CLIP and of the scores made with it.

    Tests/NetworksTests/Fixtures/clip-vision-*.json         outputs and gradients of tiny vision models
    Tests/PipelinesTests/Fixtures/clip/                     a tiny CLIPModel as transformers saves it
    Tests/PipelinesTests/Fixtures/clip-score.json           images, texts, pixel values, features, torchmetrics' score
    Tests/ImagesTests/Fixtures/resizing-bicubic.json        images resized by Pillow
    Tests/EvaluationTests/Fixtures/clip-metrics.json        Fréchet distance, CMMD, SSIM and Holm's correction

Run by hand:  python Tests/Fixtures/make_clip_score_fixtures.py
(torch 2.15.0, transformers 5.24.0 without torchvision, torchmetrics 1.9.0, Pillow 13, numpy)

torchvision must not be installed: transformers then prepares images with Pillow. Weights come from fixture_values.py.
torchmetrics 1.9 expects tensors from `get_image_features`, where transformers 5 returns outputs with a
`pooler_output`; a subclass returns these. All metrics that are not torchmetrics' are computed in double precision.
"""

import base64
import json
import pathlib
import shutil

import numpy as np
import torch
from PIL import Image
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.multimodal.clip_score import CLIPScore
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer, CLIPVisionConfig
from transformers import CLIPProcessor, CLIPVisionModelWithProjection

from fixture_values import rounded, uniform, unit
from torch_fixtures import gradient_summaries, load_formula, write

TESTS = pathlib.Path(__file__).resolve().parent.parent
PIPELINES = TESTS / "PipelinesTests" / "Fixtures"
CLIP = PIPELINES / "clip"

# MARK: Vision models

VISION = {
    # The side length is not a multiple of the patches': the last pixels are not seen.
    "clip": dict(hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, image_size=14,
                 patch_size=4, projection_dim=5, hidden_act="quick_gelu", attention_dropout=0.25),
    "gelu": dict(hidden_size=8, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4, image_size=16,
                 patch_size=8, projection_dim=7, hidden_act="gelu", layer_norm_eps=1e-3),
}


def make_vision(name, config):
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**config)).eval()
    load_formula(model)
    size = config["image_size"]
    output = model(torch.from_numpy(unit("pixel_values", (2, 3, size, size))))
    pooled = model.vision_model(torch.from_numpy(unit("pixel_values", (2, 3, size, size)))).pooler_output
    outputs = {"image_embeds": output.image_embeds, "last_hidden_state": output.last_hidden_state,
               "pooler_output": pooled}
    loss = sum((value * torch.from_numpy(unit("loss." + key, value.shape))).sum() for key, value in outputs.items())
    loss.backward()
    write(f"clip-vision-{name}", {
        "config": config, "batch": 2,
        "outputs": {key: {"shape": list(value.shape), "values": rounded(value.detach())}
                    for key, value in outputs.items()},
        "gradients": gradient_summaries(model)})


for name, config in VISION.items():
    make_vision(name, config)

# MARK: A CLIP model and torchmetrics' score


class PooledCLIPModel(CLIPModel):
    """Returns features as transformers before 5 does."""

    def get_image_features(self, *arguments, **options):
        return super().get_image_features(*arguments, **options).pooler_output

    def get_text_features(self, *arguments, **options):
        return super().get_text_features(*arguments, **options).pooler_output


def pixels(name, width, height):
    return ((uniform(name, (height, width, 3)) + 1) * 128).astype(np.uint8)


def smooth(width, height, phase):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([(np.sin(x / 5 + phase) + 1) * 127, (np.cos(y / 4 - phase) + 1) * 127,
                     (x + y) * 255 / (width + height)], axis=2).astype(np.uint8)


def encoded(image):
    return {"width": image.shape[1], "height": image.shape[0], "pixels": base64.b64encode(image.tobytes()).decode()}


tokenizer = CLIPTokenizer.from_pretrained(PIPELINES / "pipelines" / "sd1" / "tokenizer")
# Start, six tokens, end: the last text is longer.
LENGTH = 8
config = CLIPConfig(
    text_config=dict(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                     num_attention_heads=2, max_position_embeddings=LENGTH, bos_token_id=tokenizer.bos_token_id,
                     eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id),
    vision_config=dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, image_size=16,
                       patch_size=4),
    projection_dim=10)
model = PooledCLIPModel(config).eval()
load_formula(model)
processor = CLIPProcessor(
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}), tokenizer)
tokenizer.model_max_length = LENGTH
shutil.rmtree(CLIP, ignore_errors=True)
CLIPModel.save_pretrained(model, CLIP)
saved = json.loads((CLIP / "config.json").read_text())
saved["architectures"] = ["CLIPModel"]
(CLIP / "config.json").write_text(json.dumps(saved, indent=2) + "\n")
processor.image_processor.save_pretrained(CLIP)
for file in ("vocab.json", "merges.txt", "special_tokens_map.json"):
    shutil.copy(PIPELINES / "pipelines" / "sd1" / "tokenizer" / file, CLIP / file)
config_text = json.loads((PIPELINES / "pipelines" / "sd1" / "tokenizer" / "tokenizer_config.json").read_text())
config_text["model_max_length"] = LENGTH
(CLIP / "tokenizer_config.json").write_text(json.dumps(config_text, indent=2) + "\n")

# Wider, taller, larger, smaller than the model's images, of their size, and with a side that rounds down.
IMAGES = [smooth(40, 24, 0), smooth(23, 61, 1), pixels("noise", 64, 64), smooth(9, 7, 2), pixels("own", 16, 16),
          smooth(33, 17, 3)]
TEXTS = ["a photo of a cat", "an orange cat", "the river and the sea!", "", "a red horse",
         "an astronaut riding a horse over the moon, a painting of high quality"]

metric = CLIPScore(lambda: (model, processor))
each = []
with torch.no_grad():
    for image, text in zip(IMAGES, TEXTS):
        tensor = torch.from_numpy(image).permute(2, 0, 1)
        single = CLIPScore(lambda: (model, processor))
        single.update(tensor, text)
        each.append(float(single.score))
        metric.update(tensor, text)
    values = processor.image_processor([torch.from_numpy(image).permute(2, 0, 1) for image in IMAGES],
                                       return_tensors="pt")["pixel_values"]
    image_features = model.get_image_features(values)
    text_features = []
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt", truncation=False)["input_ids"][:, :LENGTH]
        text_features.append(model.get_text_features(ids)[0])
    text_features = torch.stack(text_features)
document = {
    "images": [encoded(image) for image in IMAGES], "texts": TEXTS, "isTruncated": [False] * 5 + [True],
    "pixelValues": rounded(values[:, :, ::5, ::5]), "pixelValueSums": rounded(values.double().sum(dim=(2, 3))),
    "imageFeatures": rounded(image_features), "textFeatures": rounded(text_features),
    "scores": rounded(each), "score": float(metric.compute())}

# Processors with other options, on the same images: results and options.
variants = []
for options in (dict(size={"height": 16, "width": 16}, do_center_crop=False),
                dict(size={"shortest_edge": 24}, crop_size={"height": 16, "width": 16}, do_normalize=False),
                dict(do_resize=False, crop_size=16, image_mean=[0.5, 0.25, 0.125], image_std=[0.5, 0.75, 1.5]),
                dict(size=20, crop_size=16, do_rescale=False)):
    result = CLIPImageProcessor(**options)(
        [torch.from_numpy(image).permute(2, 0, 1) for image in IMAGES], return_tensors="pt")["pixel_values"].double()
    variants.append({"options": json.dumps(options), "samples": rounded(result[:, :, ::5, ::5]),
                     "sums": rounded(result.sum(dim=(2, 3)))})
document["processors"] = variants
(PIPELINES / "clip-score.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")

# MARK: Pillow's bicubic filter

resizing = []
for (width, height), size in [((13, 9), (8, 8)), ((13, 9), (26, 18)), ((13, 9), (13, 20)), ((64, 48), (8, 16)),
                              ((5, 4), (64, 3)), ((1, 1), (3, 2)), ((100, 3), (7, 3)), ((13, 22), (9, 14))]:
    image = pixels(f"bicubic {width}x{height}", width, height)
    if width == 13:
        # Edges between black and white overshoot and are clamped.
        image = np.where(image > 127, 255, 0).astype(np.uint8)
    result = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    resizing.append({**encoded(image), "newWidth": size[0], "newHeight": size[1],
                     "resized": base64.b64encode(result.tobytes()).decode()})
(TESTS / "ImagesTests" / "Fixtures" / "resizing-bicubic.json").write_text(json.dumps(resizing, indent=0) + "\n")

# MARK: Metrics

features = uniform("features", (12, 5))
reference = (uniform("reference", (9, 5)) * np.float32([2, 1, 0.5, 1, 3]) + np.float32(0.25)).astype(np.float32)
texts = uniform("texts", (12, 5))
x, y, t = (array.astype(np.float64) for array in (features, reference, texts))
units = [array / np.linalg.norm(array, axis=1, keepdims=True) for array in (x, y, t)]
kernel = [[np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=2) / (2 * 10**2)) for b in units[:2]] for a in units[:2]]
within = [kernel[i][i] for i in range(2)]
mixed = kernel[0][1].mean()
biased = 1000 * (within[0].mean() + within[1].mean() - 2 * mixed)
unbiased = 1000 * (sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in within) - 2 * mixed)
covariances = [np.cov(array, rowvar=False) for array in (x, y)]
overlap = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex)).real.sum()
frechet = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + sum(np.trace(c) for c in covariances) - 2 * overlap
images = torch.from_numpy((unit("similar", (2, 3, 14, 17)) * 0.1 + 0.5).astype(np.float32)).clamp(0, 1)
others = (images + torch.from_numpy(uniform("difference", (2, 3, 14, 17))) * 0.1).clamp(0, 1)
similarities = structural_similarity_index_measure(others.double(), images.double(), data_range=1.0, reduction="none")
metrics = {
    "dimension": 5, "features": rounded(features, 9), "reference": rounded(reference, 9), "texts": rounded(texts, 9),
    "scores": [float(value) for value in 100 * (units[0] * units[2]).sum(axis=1)],
    "cmmd": float(biased), "unbiasedCMMD": float(unbiased), "frechet": float(frechet),
    "imageShape": list(images.shape), "images": rounded(others, 9), "referenceImages": rounded(images, 9),
    "similarities": [float(value) for value in similarities]}
(TESTS / "EvaluationTests" / "Fixtures" / "clip-metrics.json").write_text(
    json.dumps(metrics, separators=(",", ":")) + "\n")
for path in (PIPELINES / "clip-score.json", *sorted(CLIP.iterdir())):
    print(path.name, path.stat().st_size)
