// SPDX-License-Identifier: Apache-2.0
// Reproducible random initialization. Every key has its own random stream, the FNV-1a hash of the key, so that the
// values of a parameter depend on the seed and on its name, not on the order of construction.

import Tensors

/// Random parameters from a seed: Gaussian weights, norms 1, biases 0 (see `Initializer`).
public struct RandomParameterProvider: ParameterProvider {
    /// The seed of all keys.
    public let seed: UInt64

    /// A provider whose values depend on `seed` and on the key only.
    public init(seed: UInt64) {
        self.seed = seed
    }

    /// The initial value of `key`, as a trainable `Parameter`.
    ///
    /// - Precondition: a `.gaussianFanIn` initializer has a fan-in > 0.
    public func weight(_ key: String, shape: [Int], initializer: Initializer) -> any WeightSource {
        switch initializer {
        case .zeros: return Parameter(key, .zeros(shape))
        case .ones: return Parameter(key, .ones(shape))
        case .normal(let std): return gaussian(key, shape: shape, std: std)
        case .gaussianFanIn(let fanIn):
            precondition(fanIn > 0, "\(key): fan-in \(fanIn) must be positive")
            return gaussian(key, shape: shape, std: 1 / Float(fanIn).squareRoot())
        }
    }

    private func gaussian(_ key: String, shape: [Int], std: Float) -> Parameter {
        var generator = Philox(seed: seed, stream: fnv1a(key))
        return Parameter(key, generator.normal(shape) * std)
    }
}
