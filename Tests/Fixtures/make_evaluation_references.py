# SPDX-License-Identifier: Apache-2.0
"""Reference values of the metrics, by other routes than the Swift code takes, in double precision.

The Fréchet distance uses the textbook form tr (Σa Σb)^½ from the eigenvalues of the unsymmetric product, the weighted
prediction error goes through the samples that the predictions imply. Writes
Tests/EvaluationTests/Fixtures/evaluation-references.json. Made with numpy 2.4.6.

    python Tests/Fixtures/make_evaluation_references.py
"""

import json
import pathlib

import numpy as np

rng = np.random.default_rng(7)


def draw(*shape):
    """Float32 values, so that both sides read the same numbers."""
    return rng.standard_normal(shape).astype(np.float32)


def floats(array):
    return [float(value) for value in np.asarray(array).ravel()]


images, reference = draw(3, 2, 4, 5), draw(3, 2, 4, 5)
squares = (images.astype(np.float64) - reference) ** 2
image_errors = squares.reshape(3, -1).mean(axis=1)

# Features with unequal variances and correlations.
mixing = draw(6, 6)
a = (draw(40, 6) @ mixing + 0.5).astype(np.float32)
b = (draw(30, 6) * np.float32([2, 1, 0.5, 1, 3, 0.1])).astype(np.float32)
mean_a, mean_b = a.astype(np.float64).mean(axis=0), b.astype(np.float64).mean(axis=0)
cov_a, cov_b = (np.cov(x.astype(np.float64), rowvar=False) for x in (a, b))
overlap = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).astype(complex)).real.sum()
frechet = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * overlap

xs = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], dtype=np.float64)

# Stable Diffusion's schedule: scaled_linear 0.00085..0.012.
alphas_cumprod = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
timesteps = [0, 500, 999]
kept = alphas_cumprod[timesteps].reshape(3, 1, 1, 1)
noisy = draw(3, 2, 4, 5).astype(np.float64)


def implied(prediction, kind):
    if kind == "epsilon":
        return (noisy - np.sqrt(1 - kept) * prediction) / np.sqrt(kept)
    return np.sqrt(kept) * noisy - np.sqrt(1 - kept) * prediction


def sample_errors(kind):
    difference = implied(images.astype(np.float64), kind) - implied(reference.astype(np.float64), kind)
    return (difference**2).reshape(3, -1).mean(axis=1)


document = {
    "images": floats(images),
    "reference": floats(reference),
    "imageShape": list(images.shape),
    "imageErrors": floats(image_errors),
    "psnrRange2": float(10 * np.log10(4 / image_errors.mean())),
    "featuresA": floats(a),
    "featuresB": floats(b),
    "featureDimension": 6,
    "covarianceA": floats(cov_a),
    "frechet": float(frechet),
    "xs": floats(xs),
    "standardError": float(xs.std(ddof=1) / np.sqrt(len(xs))),
    "timesteps": timesteps,
    "epsilonSampleErrors": floats(sample_errors("epsilon")),
    "velocitySampleErrors": floats(sample_errors("v_prediction")),
}
root = pathlib.Path(__file__).resolve().parents[2]
path = root / "Tests/EvaluationTests/Fixtures/evaluation-references.json"
path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
