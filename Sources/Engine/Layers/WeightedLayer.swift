// SPDX-License-Identifier: Apache-2.0
// Layers whose weight can be replaced in place: quantization changes a layer's weight, never its class.

import Tensors

/// Something with a weight (and perhaps a bias) under one diffusers path.
public protocol WeightHolder: AnyObject {
    /// Diffusers path, e.g. "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q".
    var path: String { get }
    /// What the layer multiplies with; a replacement must have the same shape.
    var weight: any WeightSource { get set }
    /// The bias, nil where the layer has none.
    var bias: Parameter? { get }
}

/// A linear layer, weight `[OC, IC]`, a convolution, weight `[OC, IC, KH, KW]`, or an embedding, weight `[V, D]` with
/// one scale per row: what quantization applies to.
public protocol WeightedLayer: WeightHolder {}
