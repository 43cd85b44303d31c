// SPDX-License-Identifier: Apache-2.0
// Everything at once: `import BitsFusion` gives the public API of every module that a program needs to read, analyze,
// quantize, train, pack and run diffusion models.

@_exported import Analyzer
@_exported import BitAllocator
@_exported import Checkpoints
@_exported import Diffusion
@_exported import Evaluation
@_exported import Layers
@_exported import Packing
@_exported import Pipelines
@_exported import QAT
@_exported import Quantization
@_exported import Recipes
@_exported import Shapes
@_exported import Tensors

/// The version of this library and of the program, as manifests record it.
public let toolVersion = "0.1.0"
