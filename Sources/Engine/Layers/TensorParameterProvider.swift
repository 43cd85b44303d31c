// SPDX-License-Identifier: Apache-2.0
// Parameters from tensors in memory, for copies of models and for tests.

import Tensors

/// Provides copies of tensors by key, each as a new trainable `Parameter`, so that models built from the same values do
/// not share parameters.
public struct TensorParameterProvider: ParameterProvider {
    private let tensors: [String: Tensor]

    /// A provider of `tensors` by full diffusers key.
    public init(_ tensors: [String: Tensor]) {
        self.tensors = tensors
    }

    /// A provider of the present dense values of every entry of `store`, for a copy of its model.
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
