// SPDX-License-Identifier: Apache-2.0
// Everything at once: `import BitsFusion` gives the public API of every module that a program needs to read, analyze,
// quantize, train, pack and run diffusion models.

@_exported import Analyzer
@_exported import BitAllocator
@_exported import Checkpoints
@_exported import Communication
@_exported import DataSets
@_exported import Evaluation
@_exported import Files
@_exported import Images
@_exported import Layers
@_exported import Networks
@_exported import Optimizers
@_exported import Packing
@_exported import Pipelines
@_exported import QAT
@_exported import Quantization
@_exported import Recipes
@_exported import Schedulers
@_exported import Tensors
@_exported import Tokenizers

/// The version of this library and of the program, as manifests record it.
public let toolVersion = "0.2.0"
