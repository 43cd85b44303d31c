// SPDX-License-Identifier: Apache-2.0
// Quantization-aware training of one layer alone against the full-precision model's predicted noise (BitsFusion,
// arXiv:2406.04333, Algorithm 1, part 1). Only what follows the layer is computed; the rest of the model is frozen.

import Layers
import Optimizers
import Quantization
import Tensors

/// How a quantized layer is fine-tuned before it is measured.
public struct LayerTuningOptions: Hashable, Sendable, Codable {
    /// T, 0 for post-training quantization.
    public var steps: Int
    /// Of the latent weights, with AdamW.
    public var learningRate: Float
    /// Of the scales.
    public var scaleLearningRate: Float

    public init(steps: Int = 0, learningRate: Float = 1e-3, scaleLearningRate: Float = 1e-4) {
        (self.steps, self.learningRate, self.scaleLearningRate) = (steps, learningRate, scaleLearningRate)
    }
}

/// Fine-tunes layers on training inputs that are none of those that measure.
struct LayerTuning {
    let options: LayerTuningOptions
    let passes: StagedPredictions

    /// Trains `weight` in `layer`, whose weight is `weight` afterwards. Step i sees part i modulo their number, so nothing
    /// depends on other candidates.
    /// `stage` is the layer's, nil where the conditioning is made with it; `interruption` is called before every step, and
    /// what it throws ends the work.
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
