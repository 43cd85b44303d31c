// SPDX-License-Identifier: Apache-2.0
// Group normalization over channels and pixels, as torch.nn.GroupNorm, with the activation that follows it in
// diffusers, and layer normalization over the last axis, as torch.nn.LayerNorm. SiLU is fused with group normalization;
// other activations are a separate pass. B batch, C and D channels.

import Tensors

/// Normalizes each of `groups` channel groups to mean 0 and variance 1, then scales and shifts per channel.
/// Keys `weight` `[C]` and `bias` `[C]`.
public final class GroupNorm {
    /// Gain per channel, `[C]`.
    public let weight: Parameter
    /// Shift per channel, `[C]`.
    public let bias: Parameter
    /// Number of groups; divides C.
    public let groups: Int
    /// Added to the variance.
    public let epsilon: Float
    /// Applied to the result.
    public let activation: Activation?

    /// Reads `weight` and `bias` below `parameters`.
    ///
    /// - Precondition: `groups` divides `channels`.
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(
        _ parameters: ParameterPath, channels: Int, groups: Int, epsilon: Float, activation: Activation? = nil
    ) throws {
        precondition(
            groups > 0 && channels % groups == 0,
            "\(parameters.path): \(channels) channels cannot be split into \(groups) groups")
        self.groups = groups
        self.epsilon = epsilon
        self.activation = activation
        weight = try parameters.parameter("weight", shape: [channels], initializer: .ones)
        bias = try parameters.parameter("bias", shape: [channels], initializer: .zeros)
    }

    /// `x` `[B, C, ...]` -> the same shape.
    public func callAsFunction(_ x: Tensor) -> Tensor {
        let fused = activation == .silu
        let y = groupNorm(
            x, groups: groups, weight: weight.tensor(), bias: bias.tensor(), epsilon: epsilon, silu: fused)
        guard let activation, !fused else { return y }
        return activation(y)
    }

    /// Replaces `x` `[B, C, ...]` by the result, in the same memory if no other tensor shares it and no gradient is
    /// needed.
    public func apply(to x: inout Tensor) {
        let fused = activation == .silu
        groupNorm(
            replacing: &x, groups: groups, weight: weight.tensor(), bias: bias.tensor(), epsilon: epsilon, silu: fused)
        if let activation, !fused { x = activation(x) }
    }
}

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
