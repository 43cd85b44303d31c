// SPDX-License-Identifier: Apache-2.0
// The parameters of a quantized denoiser that distillation trains (BitsFusion, arXiv:2406.04333, section 4). Time
// layers are frozen, since cached time features replace them (section 4.1).

import Layers
import Networks
import Quantization
import Tensors

extension Denoiser {
    /// Freezes the time layers and makes everything else trainable.
    ///
    /// - Returns: the trainable leaves: latent weights, biases and norms, and separately the scales.
    public func prepareForDistillation() -> (weights: [Parameter], scales: [Parameter]) {
        let scales = store.weightedLayers.compactMap { ($0.weight as? FakeQuantizedWeight)?.scaleParameter }
        let scaleNames = Set(scales.map(\.name))
        let weights = store.parameters.filter { !scaleNames.contains($0.name) }
        for parameter in weights { parameter.isTrainable = !isTimeLayer(parameter: parameter.name) }
        return (weights.filter(\.isTrainable), scales)
    }
}
