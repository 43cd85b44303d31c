// SPDX-License-Identifier: Apache-2.0
// Table lookup, as torch.nn.Embedding. V rows of D channels.

import Tensors

/// A table of V learned vectors with the key `weight` `[V, D]`.
public final class Embedding: WeightedLayer {
    public let path: String
    public var weight: any WeightSource {
        didSet { preconditionSameShape(path, oldValue, weight) }
    }
    public var bias: Parameter? { nil }
    /// V, the number of rows; ids are in `0 ..< rows`.
    public let rows: Int

    /// Reads `weight` below `parameters`; random tables are Gaussian with standard deviation `std`.
    ///
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(_ parameters: ParameterPath, rows: Int, channels: Int, std: Float) throws {
        path = parameters.path
        self.rows = rows
        weight = try parameters.weight("weight", shape: [rows, channels], initializer: .normal(std: std))
        parameters.store.register(self)
    }

    /// `ids` (`shape`, flat) -> `shape + [D]`.
    public func callAsFunction(_ ids: [Int32], shape: [Int]) -> Tensor {
        embedding(ids, shape: shape, weight: weight.lazyTensor())
    }
}
