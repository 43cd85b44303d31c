// SPDX-License-Identifier: Apache-2.0
// Layer normalization over the last axis, as torch.nn.LayerNorm. D channels.

import Tensors

/// Normalizes every row to mean 0, variance 1, then scales and shifts. Keys `weight` `[D]` and `bias` `[D]`.
public final class LayerNorm {
    /// Gain, `[D]`.
    public let weight: Parameter
    /// Shift, `[D]`.
    public let bias: Parameter
    /// Added to the variance.
    public let epsilon: Float

    /// Reads `weight` and `bias` below `parameters`.
    ///
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(_ parameters: ParameterPath, channels: Int, epsilon: Float = 1e-5) throws {
        self.epsilon = epsilon
        weight = try parameters.parameter("weight", shape: [channels], initializer: .ones)
        bias = try parameters.parameter("bias", shape: [channels], initializer: .zeros)
    }

    /// `x` `[..., D]` -> the same shape.
    public func callAsFunction(_ x: Tensor) -> Tensor {
        layerNorm(x, weight: weight.tensor(), bias: bias.tensor(), epsilon: epsilon)
    }
}
