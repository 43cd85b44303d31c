// SPDX-License-Identifier: Apache-2.0
// Models without values, for inspecting an architecture: every large weight has a shape and no numbers.

import Layers
import Tensors

/// A provider of weights that have a shape and no values.
package struct ShapeOnlyProvider: ParameterProvider {
    package init() {}

    package func weight(_ key: String, shape: [Int], initializer: Initializer) -> any WeightSource {
        shape.count > 1 ? ShapeOnlyWeight(shape) : Parameter(key, .zeros(shape), isTrainable: false)
    }
}

/// A weight that has a shape and cannot be computed with.
package final class ShapeOnlyWeight: WeightSource {
    package let shape: [Int]

    package init(_ shape: [Int]) { self.shape = shape }

    package var parameters: [Parameter] { [] }

    package func tensor() -> Tensor {
        preconditionFailure("a weight \(shape) without values was computed with")
    }
}

extension AutoencoderKLConfig {
    /// The autoencoder with shapes and no values of large weights: for inspecting the architecture.
    ///
    /// - Throws: `ParameterError` for an architecture that cannot be built.
    public func skeleton(parts: AutoencoderKL.Parts = .both) throws -> AutoencoderKL {
        try AutoencoderKL(
            config: self, parameters: ParameterPath(ParameterStore(provider: ShapeOnlyProvider())), parts: parts)
    }
}
