// SPDX-License-Identifier: Apache-2.0
// Random inputs of the cases: the same on every machine, with magnitudes as in trained models.

import BitsFusion

/// Random tensors of one case, each with its own stream.
struct RandomInputs {
    private let seed: UInt64

    /// - Parameter name: the name of the case, which determines the values.
    init(_ name: String) { seed = fnv1a(name) }

    /// Independent Gaussians with standard deviation `std`.
    func normal(_ name: String, _ shape: [Int], std: Float = 1) -> Tensor {
        var generator = Philox(seed: seed, stream: fnv1a(name))
        return generator.normal(shape) * std
    }

    /// A weight `[OC, ...]` that preserves the magnitude of activations.
    func weight(_ name: String, _ shape: [Int]) -> Tensor {
        normal(name, shape, std: 1 / Float(shape.dropFirst().reduce(1, *)).squareRoot())
    }
}

/// Random parameters as from `RandomParameterProvider`, but with biases and norms that are not all 0 and 1, so that an
/// omitted one changes the results.
struct BenchmarkParameters: ParameterProvider {
    private let random = RandomParameterProvider(seed: 1)

    func weight(_ key: String, shape: [Int], initializer: Initializer) -> any WeightSource {
        let value = random.weight(key, shape: shape, initializer: initializer)
        guard initializer == .zeros || initializer == .ones else { return value }
        let noise = random.weight(key + ".noise", shape: shape, initializer: .normal(std: 0.1))
        return Parameter(key, value.tensor().detached() + noise.tensor().detached())
    }
}
