// SPDX-License-Identifier: Apache-2.0
// Reproducible random initialisation. Every key has its own random stream, numbered by the key's FNV-1a hash,
// so a parameter's values depend on the seed and on its name, not on the order in which layers are built.

import Tensors

/// Makes parameters up from a seed: Gaussian weights, norms 1, biases 0 (see `Initializer`).
public struct RandomParameterProvider: ParameterProvider {
    /// The seed shared by all keys.
    public let seed: UInt64

    /// A provider whose values depend on `seed` and on each key alone.
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
