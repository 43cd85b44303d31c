// SPDX-License-Identifier: Apache-2.0
// Sinusoidal features of a number, and the two-layer network that follows them. Matches diffusers
// `get_timestep_embedding` and `TimestepEmbedding` (models/embeddings.py). N numbers, C feature channels.

import Foundation
import Tensors

/// Sines and cosines of numbers at geometrically spaced frequencies, 1 down to about 1/10000.
public struct SinusoidalFeatures: Sendable, Equatable {
    /// C, the number of features; if C is odd, the last feature is 0.
    public let channels: Int
    /// Cosines first (Stable Diffusion) instead of sines first.
    public let cosineFirst: Bool
    /// Subtracted from the number of frequencies in the denominator of the exponent.
    public let frequencyShift: Float

    /// Features with diffusers' `flip_sin_to_cos` and `freq_shift`.
    public init(channels: Int, cosineFirst: Bool, frequencyShift: Float) {
        self.channels = channels
        self.cosineFirst = cosineFirst
        self.frequencyShift = frequencyShift
    }

    /// `numbers` (any shape, N values) -> `[N, C]`; not differentiable.
    public func callAsFunction(_ numbers: Tensor) -> Tensor {
        let half = channels / 2
        // Frequencies are rounded to Float32 before the product, as in PyTorch: at t = 999, the rounding error of the
        // product is larger than that of the sine.
        let frequencies = (0..<half).map { index in
            exp(-Float(log(10000.0)) * Float(index) / (Float(half) - frequencyShift))
        }
        let count = numbers.count
        var features = [Float](repeating: 0, count: count * channels)
        for (row, number) in numbers.values.enumerated() {
            for (index, frequency) in frequencies.enumerated() {
                let angle = Double(number * frequency)
                let (first, second) = cosineFirst ? (cos(angle), sin(angle)) : (sin(angle), cos(angle))
                features[row * channels + index] = Float(first)
                features[row * channels + half + index] = Float(second)
            }
        }
        return Tensor(features, shape: [count, channels])
    }
}

/// Linear, activation, linear (and an optional last activation). Keys `linear_1` and `linear_2`.
public final class TimestepEmbedding {
    private let linear1, linear2: Linear
    private let activation: Activation
    private let lastActivation: Activation?

    /// Reads both layers below `parameters` ("time_embedding", "add_embedding").
    ///
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(
        _ parameters: ParameterPath, in inputs: Int, out outputs: Int, activation: Activation,
        lastActivation: Activation? = nil
    ) throws {
        linear1 = try Linear(parameters / "linear_1", in: inputs, out: outputs)
        linear2 = try Linear(parameters / "linear_2", in: outputs, out: outputs)
        self.activation = activation
        self.lastActivation = lastActivation
    }

    /// `x` `[B, inputs]` -> `[B, outputs]`.
    public func callAsFunction(_ x: Tensor) -> Tensor {
        let embedded = linear2(activation(linear1(x)))
        return lastActivation.map { $0(embedded) } ?? embedded
    }
}
