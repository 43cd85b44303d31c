// SPDX-License-Identifier: Apache-2.0
// Layers whose weight can be exchanged in place: quantization changes a layer's weight, never its class.

import Tensors

/// The two kinds of layer that the method quantizes.
public enum LayerKind: String, Codable, Sendable, CaseIterable {
    /// Weight `[OC, IC]`.
    case linear
    /// Weight `[OC, IC, KH, KW]`.
    case conv2d
}

/// Something with a weight (and perhaps a bias) under one diffusers path.
public protocol WeightHolder: AnyObject {
    /// Diffusers path, e.g. "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q".
    var path: String { get }
    /// What the layer multiplies with; a replacement must have the same shape.
    var weight: any WeightSource { get set }
    /// The bias, nil where the layer has none.
    var bias: Parameter? { get }
}

/// A linear or convolution layer.
public protocol WeightedLayer: WeightHolder {
    /// Which of the two it is.
    var kind: LayerKind { get }
}
