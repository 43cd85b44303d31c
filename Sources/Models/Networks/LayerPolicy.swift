// SPDX-License-Identifier: Apache-2.0
// The role of each layer of an architecture in quantization, and its group in reports. The bits of layers are searched,
// or fixed to `BitWidth.firstAndLast` for the first and the last layer; other layers keep full precision or are
// replaced by a cache.

import Layers
import Recipes

/// Roles and groups of the layers of one architecture, by path.
public protocol LayerPolicy: Sendable {
    /// What happens to the linear or convolution layer at `path` when the model is quantized.
    func role(ofLayer path: String) -> LayerRole

    /// The group that the sensitivity of the layer at `path` is summed in.
    func group(ofLayer path: String) -> LayerGroup
}

/// The policy of components that keep their precision unless a recipe names a layer: text encoders and autoencoders.
public struct OptionalLayerPolicy: LayerPolicy {
    public init() {}

    public func role(ofLayer path: String) -> LayerRole { .optional }
    public func group(ofLayer path: String) -> LayerGroup { .other }
}

/// BitsFusion's choices for `UNet2DConditionModel` (arXiv:2406.04333, sections 3 and 4.1): every linear and convolution
/// layer is quantized except those that turn the timestep into time features.
///
///     path                                                          role
///     time_embedding.*   add_embedding.*   class_embedding[.*]      timeEmbedding
///     *.time_emb_proj                                               timeProjection
///     conv_in   conv_out                                            firstOrLast
///     every other                                                   searched
///
///     path                                          group
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
public struct UNetLayerPolicy: LayerPolicy {
    public init() {}

    public func role(ofLayer path: String) -> LayerRole {
        let embeddings = ["time_embedding", "add_embedding", "class_embedding"]
        if embeddings.contains(where: { path == $0 || path.hasPrefix($0 + ".") }) { return .timeEmbedding }
        if path == "time_emb_proj" || path.hasSuffix(".time_emb_proj") { return .timeProjection }
        return path == "conv_in" || path == "conv_out" ? .firstOrLast : .searched
    }

    public func group(ofLayer path: String) -> LayerGroup {
        let parts = path.split(separator: ".")
        switch parts.last ?? "" {
        case _ where parts.contains("attn1"): return .selfAttention
        case "to_q" where parts.contains("attn2"): return .crossAttentionQuery
        case "to_k" where parts.contains("attn2"), "to_v" where parts.contains("attn2"):
            return .crossAttentionKeyValue
        case _ where parts.contains("attn2") && parts.contains("to_out"): return .crossAttentionOut
        case _ where parts.contains("ff"): return .feedForward
        case "conv1" where parts.contains("resnets"), "conv2" where parts.contains("resnets"):
            return .residualConvolution
        case "conv_shortcut" where parts.contains("resnets"): return .shortcut
        case "proj_in" where parts.contains("attentions"), "proj_out" where parts.contains("attentions"):
            return .projection
        case _ where parts.contains("downsamplers") || parts.contains("upsamplers"): return .resampling
        default: return role(ofLayer: path) == .firstOrLast ? .firstOrLast : .other
        }
    }
}

extension LayerShape {
    /// Describes `layer`, under the name `path`.
    ///
    /// - Precondition: the weight has 2 or 4 axes.
    public init(_ layer: any WeightedLayer, path: LayerID, policy: any LayerPolicy) {
        let shape = layer.weight.shape
        guard let kind = Kind(weightRank: shape.count) else {
            preconditionFailure("\(layer.path): weight \(shape) is neither a linear layer's nor a convolution's")
        }
        self.init(
            path: path, kind: kind, shape: shape, hasBias: layer.bias != nil,
            role: policy.role(ofLayer: layer.path), group: policy.group(ofLayer: layer.path))
    }
}
