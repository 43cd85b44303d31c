// SPDX-License-Identifier: Apache-2.0
// Groups of layers with the same function, in which sensitivities are summed: those of the paper's findings
// (BitsFusion, arXiv:2406.04333, section 3.2: cross-attention keys and values, convolution shortcuts, ...). The layer
// policy of the model's architecture assigns them.

/// The group of a layer in its model.
public enum LayerGroup: String, Codable, Sendable, CaseIterable {
    /// Queries, keys, values and output of self-attention.
    case selfAttention
    /// Queries of attention to the text.
    case crossAttentionQuery
    /// Keys and values of attention to the text.
    case crossAttentionKeyValue
    /// The output projection of attention to the text.
    case crossAttentionOut
    /// The linear layers of feed-forward networks.
    case feedForward
    /// The two 3x3 convolutions of a residual block.
    case residualConvolution
    /// The 1x1 convolution of a residual block whose number of channels changes.
    case shortcut
    /// The input and output projections of transformers.
    case projection
    /// Convolutions between resolutions.
    case resampling
    /// The first or last layer, whose bits are fixed.
    case firstOrLast
    /// None of the above.
    case other

    /// The name in printed tables.
    public var title: String {
        switch self {
        case .selfAttention: "self-attention q/k/v/out"
        case .crossAttentionQuery: "cross-attention q"
        case .crossAttentionKeyValue: "cross-attention k/v"
        case .crossAttentionOut: "cross-attention out"
        case .feedForward: "feed-forward"
        case .residualConvolution: "residual conv1/conv2"
        case .shortcut: "conv shortcut"
        case .projection: "projection in/out"
        case .resampling: "down/up sampler"
        case .firstOrLast: "conv_in/conv_out"
        case .other: "other"
        }
    }
}
