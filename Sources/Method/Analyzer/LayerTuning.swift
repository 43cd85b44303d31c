// SPDX-License-Identifier: Apache-2.0
// One layer quantized alone, and its fine-tuning against the noise that the full-precision model predicts (BitsFusion,
// arXiv:2406.04333, Algorithm 1, part 1). Only the stages from the layer on are computed; the rest of the model is
// frozen.

import Layers
import Optimizers
import Quantization
import Recipes
import Tensors

/// Fine-tuning of a quantized layer before it is measured.
public struct LayerTuningOptions: Hashable, Sendable, Codable {
    /// T, 0 for post-training quantization.
    public var steps: Int
    /// The learning rate of the latent weights, with AdamW.
    public var learningRate: Float
    /// The learning rate of the scales.
    public var scaleLearningRate: Float

    public init(steps: Int = 0, learningRate: Float = 1e-3, scaleLearningRate: Float = 1e-4) {
        (self.steps, self.learningRate, self.scaleLearningRate) = (steps, learningRate, scaleLearningRate)
    }
}

/// Fine-tunes layers on inputs that are not those of the measurement.
struct LayerTuning {
    let options: LayerTuningOptions
    let passes: StagedPredictions

    /// Trains `weight` as the weight of `layer`. Step i uses part i modulo their number, so that the result does not
    /// depend on other candidates.
    ///
    /// - Parameters:
    ///   - weight: becomes the layer's weight.
    ///   - layer: the layer.
    ///   - stage: the stage of the layer; nil where the conditioning is computed with it.
    ///   - interruption: called before every step; it may throw to end the work.
    func train(
        _ weight: FakeQuantizedWeight, in layer: any WeightedLayer, stage: Int?,
        interruption: () throws -> Void
    ) rethrows {
        layer.weight = weight
        let optimizer = AdamW([
            ParameterGroup([weight.latent], learningRate: options.learningRate),
            ParameterGroup(
                [weight.scaleParameter], learningRate: options.scaleLearningRate,
                minimum: FakeQuantizedWeight.smallestScale),
        ])
        for step in 0..<options.steps {
            try interruption()
            let index = step % passes.inputs.count
            meanSquaredError(passes.prediction(index, from: stage), passes.references[index]).backward()
            optimizer.update(factor: 1, maximumNorm: 1)
        }
    }
}

/// Runs `body` while the weight of `layer` is quantized (balanced grid, alternating initialization), and restores it.
///
/// - Parameters:
///   - layer: a layer in full precision.
///   - bits: its nominal bits.
///   - train: fine-tunes the quantized weight first; nil for post-training quantization.
///   - body: measures the model.
/// - Returns: what `body` returns.
/// - Throws: what `train` and `body` throw.
package func withQuantizedWeight<Result>(
    of layer: any WeightedLayer, at bits: BitWidth, train: ((FakeQuantizedWeight) throws -> Void)? = nil,
    _ body: () throws -> Result
) rethrows -> Result {
    let original = layer.weight
    defer { layer.weight = original }
    layer.weight = try quantizedParameter(of: layer, on: QuantizationGrid(bits), train: train)
    return try body()
}

/// The weight of `layer`, quantized and fine-tuned by `train`. It is computed once, not in every pass.
///
/// - Throws: what `train` throws.
func quantizedParameter(
    of layer: any WeightedLayer, on grid: QuantizationGrid, train: ((FakeQuantizedWeight) throws -> Void)? = nil
) rethrows -> Parameter {
    let (name, dense) = (layer.path + ".weight", withoutGradients { layer.weight.tensor() })
    let quantized = FakeQuantizedWeight(
        // Training writes into its latent weight.
        latent: Parameter(name, train == nil ? dense : dense.copied()), grid: grid, initialization: .paper)
    try train?(quantized)
    return Parameter(name, withoutGradients { quantized.tensor() }, isTrainable: false)
}
