// SPDX-License-Identifier: Apache-2.0
// One layer quantized, alone and for a while: the candidate that everything here measures.

import Layers
import Quantization
import Recipes
import Tensors

/// Runs `body` while `layer` computes with its weight quantized (balanced grid, alternating initialisation); every other
/// layer stays as it is, and this one is put back afterwards.
///
/// - Parameters:
///   - layer: in full precision.
///   - width: its new one.
///   - train: fine-tunes the quantized weight first; nil for post-training quantization.
///   - body: measures.
/// - Returns: what `body` returns.
/// - Throws: what `train` and `body` throw.
package func withQuantizedWeight<Result>(
    of layer: any WeightedLayer, at width: BitWidth, train: ((FakeQuantizedWeight) throws -> Void)? = nil,
    _ body: () throws -> Result
) rethrows -> Result {
    let original = layer.weight
    defer { layer.weight = original }
    layer.weight = try quantizedParameter(of: layer, at: width, train: train)
    return try body()
}

/// The weight of `layer` quantized, fine-tuned by `train`, and worked out once, so that no pass does it again.
///
/// - Throws: what `train` throws.
func quantizedParameter(
    of layer: any WeightedLayer, at width: BitWidth, train: ((FakeQuantizedWeight) throws -> Void)? = nil
) rethrows -> Parameter {
    let (name, dense) = (layer.path + ".weight", withoutGradients { layer.weight.tensor() })
    let quantized = FakeQuantizedWeight(
        // Training writes into its latent weight.
        latent: Parameter(name, train == nil ? dense : dense.copied()), width: width, initialization: .paper)
    try train?(quantized)
    return Parameter(name, withoutGradients { quantized.tensor() }, isTrainable: false)
}
