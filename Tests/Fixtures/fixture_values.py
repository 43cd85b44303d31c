# SPDX-License-Identifier: Apache-2.0
"""Numbers that Python and Swift both compute from a name, so that fixtures need not store weights or inputs.

The twin of Tests/DiffusionTests/FixtureValues.swift: value i of a name is a SplitMix64 hash of (FNV-1a of the name,
i), its top 24 bits as a float32 in [-1, 1). Only exactly rounded operations follow, so both sides agree bit by bit.
"""

import numpy as np


def fnv1a(name: str) -> int:
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return state


def uniform(name: str, shape) -> np.ndarray:
    """float32 values in [-1, 1) that depend on `name` and on their position."""
    count = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):
        state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        state += np.uint64(fnv1a(name))
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return ((state >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)).reshape(shape)


def unit(name: str, shape) -> np.ndarray:
    """As `uniform`, with variance 1."""
    return uniform(name, shape) * np.float32(np.sqrt(3.0))


def parameter(key: str, shape) -> np.ndarray:
    """The value of a model's parameter: variance 1 / fan-in, gains around 1, biases around 0."""
    values = uniform(key, shape)
    if len(shape) > 1:
        return values * np.float32(np.sqrt(3.0 / np.prod(shape[1:])))
    values = values * np.float32(0.125)
    return values + np.float32(1) if key.endswith(".weight") else values


def rounded(values, digits: int = 8) -> list:
    """Plain floats; 8 digits tell float32 values apart to 1e-7."""
    return [float(f"{value:.{digits}g}") for value in np.asarray(values, dtype=np.float64).ravel()]


def gradient_summary(key: str, gradient: np.ndarray, entries: int = 8) -> list:
    """[Euclidean norm, product with a probe vector, largest magnitude, some entries evenly spaced]."""
    flat = gradient.astype(np.float64).ravel()
    probe = uniform("probe." + key, flat.shape).astype(np.float64)
    samples = [flat[index * flat.size // entries] for index in range(entries)]
    return rounded([np.linalg.norm(flat), flat @ probe, np.abs(flat).max(), *samples], digits=6)
