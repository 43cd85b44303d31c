// SPDX-License-Identifier: Apache-2.0
// Sources of a model's parameters: a checkpoint, a random generator, a table in memory.
// Keys are diffusers' state_dict keys, e.g. "down_blocks.0.resnets.0.conv1.weight".

import Tensors

/// How a parameter starts when no checkpoint gives its value.
public enum Initializer: Sendable, Equatable {
    /// Independent Gaussians with standard deviation `1 / sqrt(fanIn)`; `fanIn` > 0 inputs per output.
    case gaussianFanIn(Int)
    /// All 0: biases.
    case zeros
    /// All 1: gains of normalization layers.
    case ones
    /// Independent Gaussians with the given standard deviation: embedding tables.
    case normal(std: Float)
}

/// A source of parameter values, called once per key while a model is built.
public protocol ParameterProvider {
    /// The value stored (or made up) under `key`.
    ///
    /// - Parameters:
    ///   - key: full diffusers key, letter for letter.
    ///   - shape: the shape that the layer needs; a provider of stored values may leave the check to the caller.
    ///   - initializer: followed by providers that make values up, ignored by those that read them.
    /// - Returns: a source of that value: a dense `Parameter`, half precision, packed codes, ...
    /// - Throws: `ParameterError` or the provider's own error when the key is missing or unreadable.
    func weight(_ key: String, shape: [Int], initializer: Initializer) throws -> any WeightSource
}
