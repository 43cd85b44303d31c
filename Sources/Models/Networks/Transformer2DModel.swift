// SPDX-License-Identifier: Apache-2.0
// Transformer over the pixels of a feature map. Matches diffusers `Transformer2DModel`
// (models/transformers/transformer_2d.py) for continuous input and `BasicTransformerBlock` (models/attention.py).
// B batch, C channels, H W size, T = H·W pixels as tokens, S context tokens, D inner channels.

import Layers
import Tensors

/// What one block's transformers share.
struct TransformerSettings {
    let groups: Int
    let heads: Int
    let crossAttentionDim: Int
    let onlyCrossAttention: Bool
    let useLinearProjection: Bool
}

/// Norm, projection, transformer layers, projection, plus the input.
final class Transformer2DModel {
    private enum Projection {
        case linear(Linear)
        case conv(Conv2d)
    }

    /// Diffusers path, e.g. "down_blocks.0.attentions.0".
    let path: String
    private let norm: GroupNorm
    private let projIn, projOut: Projection
    private let blocks: [BasicTransformerBlock]
    private let innerWidth: Int

    init(_ parameters: ParameterPath, channels: Int, layers: Int, _ settings: TransformerSettings) throws {
        // Heads that do not divide C leave channels out: the projections map C to D and back.
        let headWidth = channels / settings.heads
        let inner = headWidth * settings.heads
        innerWidth = inner
        path = parameters.path
        norm = try GroupNorm(
            parameters / "norm", channels: channels, groups: settings.groups, epsilon: 1e-6)
        let projection: (String, Int, Int) throws -> Projection = { name, inputs, outputs in
            settings.useLinearProjection
                ? .linear(try Linear(parameters / name, in: inputs, out: outputs))
                : .conv(try Conv2d(parameters / name, in: inputs, out: outputs, kernel: 1))
        }
        projIn = try projection("proj_in", channels, inner)
        blocks = try (0..<layers).map {
            try BasicTransformerBlock(
                parameters / "transformer_blocks" / $0, width: inner, headWidth: headWidth, settings)
        }
        projOut = try projection("proj_out", inner, channels)
    }

    /// `x` `[B, C, H, W]`, `context` `[B, S, crossAttentionDim]` -> `[B, C, H, W]`.
    func callAsFunction(_ x: Tensor, context: Tensor) -> Tensor {
        let (batch, channels, height, width) = (x.shape[0], x.shape[1], x.shape[2], x.shape[3])
        let normalized = norm(x)
        var tokens: Tensor
        switch projIn {
        case .conv(let conv):
            tokens = conv(normalized).permuted([0, 2, 3, 1]).reshaped([batch, height * width, innerWidth])
        case .linear(let linear):
            tokens = linear(normalized.permuted([0, 2, 3, 1]).reshaped([batch, height * width, channels]))
        }
        for block in blocks { tokens = block(tokens, context: context) }
        switch projOut {
        case .conv(let conv):
            let pixels = tokens.reshaped([batch, height, width, innerWidth]).permuted([0, 3, 1, 2])
            return conv(pixels, residual: x)
        case .linear(let linear):
            return linear(tokens).reshaped([batch, height, width, channels]).permuted([0, 3, 1, 2]) + x
        }
    }
}

/// Self-attention, cross-attention and a gated feed-forward network, each with a norm before and a shortcut around it.
final class BasicTransformerBlock {
    private let norm1, norm2, norm3: LayerNorm
    private let attn1, attn2: Attention
    private let feedForward: FeedForward
    private let onlyCrossAttention: Bool

    init(_ parameters: ParameterPath, width: Int, headWidth: Int, _ settings: TransformerSettings) throws {
        onlyCrossAttention = settings.onlyCrossAttention
        norm1 = try LayerNorm(parameters / "norm1", channels: width)
        attn1 = try Attention(
            parameters / "attn1", channels: width,
            crossAttentionDim: settings.onlyCrossAttention ? settings.crossAttentionDim : width, heads: settings.heads,
            headDim: headWidth)
        norm2 = try LayerNorm(parameters / "norm2", channels: width)
        attn2 = try Attention(
            parameters / "attn2", channels: width, crossAttentionDim: settings.crossAttentionDim, heads: settings.heads,
            headDim: headWidth)
        norm3 = try LayerNorm(parameters / "norm3", channels: width)
        feedForward = try FeedForward(parameters / "ff", channels: width)
    }

    /// `x` `[B, T, D]`, `context` `[B, S, crossAttentionDim]` -> `[B, T, D]`.
    func callAsFunction(_ x: Tensor, context: Tensor) -> Tensor {
        let query = norm1(x)
        var hidden = attn1(query, context: onlyCrossAttention ? context : query, residual: x)
        hidden = attn2(norm2(hidden), context: context, residual: hidden)
        return feedForward(norm3(hidden), residual: hidden)
    }
}
