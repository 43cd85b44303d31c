// SPDX-License-Identifier: Apache-2.0
// Multi-head attention of the UNets' transformer blocks, without bias on q, k, v, and of the autoencoders' mid blocks,
// with bias. Matches diffusers `Attention` (models/attention_processor.py) as those blocks configure it.
// B batch, T query tokens, S context tokens, D query channels.

import Tensors

/// Self- or cross-attention with the keys `to_q`, `to_k`, `to_v` and `to_out.0`.
public final class Attention {
    private let toQ, toK, toV, toOut: Linear
    /// Number of heads with `headDim` channels each; heads * headDim may differ from D.
    public let heads: Int

    /// Reads the four projections below `parameters` ("...attn1").
    ///
    /// - Parameters:
    ///   - parameters: position of the attention layer.
    ///   - channels: D, channels of the queries and of the output.
    ///   - crossAttentionDim: channels of the context; `channels` for self-attention.
    ///   - heads: number of heads, > 0.
    ///   - headDim: channels per head.
    ///   - projectionBias: whether q, k and v have a bias.
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(
        _ parameters: ParameterPath, channels: Int, crossAttentionDim: Int, heads: Int, headDim: Int,
        projectionBias: Bool = false
    ) throws {
        let inner = heads * headDim
        toQ = try Linear(parameters / "to_q", in: channels, out: inner, bias: projectionBias)
        toK = try Linear(parameters / "to_k", in: crossAttentionDim, out: inner, bias: projectionBias)
        toV = try Linear(parameters / "to_v", in: crossAttentionDim, out: inner, bias: projectionBias)
        toOut = try Linear(parameters / "to_out.0", in: inner, out: channels)
        self.heads = heads
    }

    /// `x` `[B, T, D]`, `context` `[B, S, crossAttentionDim]` (`x` itself for self-attention) -> `[B, T, D]`, plus
    /// `residual` of that shape.
    ///
    /// Computes on integers where all three projections do and the context is long (`integerAttentionMinimumKeys`).
    public func callAsFunction(_ x: Tensor, context: Tensor, residual: Tensor? = nil) -> Tensor {
        let (q, k, v) = (toQ(x), toK(context), toV(context))
        let isInteger =
            [toQ, toK, toV].allSatisfy { $0.weight.integer != nil } && k.shape[1] >= integerAttentionMinimumKeys
            && q.shape[2] / heads <= integerAttentionMaximumHeadDim && !needsGradient(q, k, v)
        let attended =
            isInteger
            ? integerScaledDotProductAttention(q, k, v, heads: heads)
            : scaledDotProductAttention(q, k, v, heads: heads)
        return toOut(attended, residual: residual)
    }
}
