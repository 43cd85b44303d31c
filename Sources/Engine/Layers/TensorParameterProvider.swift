// SPDX-License-Identifier: Apache-2.0
// Parameters from tensors in memory: copies of another model, tests.

import Tensors

/// Hands out copies of tensors by key, each as a fresh trainable `Parameter`, so that training one model never moves
/// another one built from the same values.
public struct TensorParameterProvider: ParameterProvider {
    private let tensors: [String: Tensor]

    /// A provider of the given values, by full diffusers key.
    public init(_ tensors: [String: Tensor]) {
        self.tensors = tensors
    }

    /// The present dense values of every entry of `store`: what a copy of that model is built from.
    public init(copying store: ParameterStore) {
        tensors = Dictionary(
            uniqueKeysWithValues: store.entries.map { ($0.key, $0.source.tensor().detached()) })
    }

    /// The tensor under `key`.
    ///
    /// - Throws: `ParameterError.missing`.
    public func weight(_ key: String, shape: [Int], initializer: Initializer) throws -> any WeightSource {
        guard let tensor = tensors[key] else { throw ParameterError.missing(key: key) }
        return Parameter(key, Tensor(tensor.values, shape: tensor.shape))
    }
}
