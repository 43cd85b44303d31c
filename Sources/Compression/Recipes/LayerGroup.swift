// SPDX-License-Identifier: Apache-2.0
// What a layer does in the UNet, decided by diffusers' module path: the groups that the paper's findings speak of
// (BitsFusion, arXiv:2406.04333, section 3.2: cross-attention keys and values, convolution shortcuts, ...).

/// The place of a quantizable layer in `UNet2DConditionModel`.
///
///     path                                          place
///     *.attn1.to_{q,k,v}   *.attn1.to_out.0         selfAttention
///     *.attn2.to_q                                  crossAttentionQuery
///     *.attn2.to_{k,v}                              crossAttentionKeyValue
///     *.attn2.to_out.0                              crossAttentionOut
///     *.ff.net.*                                    feedForward
///     *.resnets.N.{conv1,conv2}                     residualConvolution
///     *.resnets.N.conv_shortcut                     shortcut
///     *.attentions.N.{proj_in,proj_out}             projection
///     *.downsamplers.N.conv   *.upsamplers.N.conv   resampling
///     conv_in   conv_out                            firstOrLast
///     every other                                   other
public enum LayerGroup: String, Codable, Sendable, CaseIterable {
    /// Queries, keys, values and output of attention among pixels.
    case selfAttention
    /// Queries that pixels ask the text with.
    case crossAttentionQuery
    /// What of the text is seen and what is taken from it.
    case crossAttentionKeyValue
    /// The output of attention to the text.
    case crossAttentionOut
    /// The two linear layers behind attention.
    case feedForward
    /// The two 3x3 convolutions of a residual block.
    case residualConvolution
    /// The 1x1 convolution around a residual block whose channels change.
    case shortcut
    /// Into and out of the transformers.
    case projection
    /// Convolutions between resolutions.
    case resampling
    /// The first or last convolution, whose width is fixed.
    case firstOrLast
    /// None of the above.
    case other

    /// The place of the layer at `path`.
    public init(of path: LayerID) {
        let parts = path.rawValue.split(separator: ".")
        let last = parts.last ?? ""
        switch last {
        case _ where parts.contains("attn1"): self = .selfAttention
        case "to_q" where parts.contains("attn2"): self = .crossAttentionQuery
        case "to_k" where parts.contains("attn2"), "to_v" where parts.contains("attn2"):
            self = .crossAttentionKeyValue
        case _ where parts.contains("attn2") && parts.contains("to_out"): self = .crossAttentionOut
        case _ where parts.contains("ff"): self = .feedForward
        case "conv1" where parts.contains("resnets"), "conv2" where parts.contains("resnets"):
            self = .residualConvolution
        case "conv_shortcut" where parts.contains("resnets"): self = .shortcut
        case "proj_in" where parts.contains("attentions"), "proj_out" where parts.contains("attentions"):
            self = .projection
        case _ where parts.contains("downsamplers") || parts.contains("upsamplers"): self = .resampling
        case _ where LayerRole(of: path) == .firstOrLast: self = .firstOrLast
        default: self = .other
        }
    }

    /// What tables for people call it.
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
