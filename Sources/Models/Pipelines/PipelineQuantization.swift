// SPDX-License-Identifier: Apache-2.0
// Turns a full-precision model into a quantized one: the weights that a recipe names are replaced by fake-quantized
// ones (BitsFusion, arXiv:2406.04333, sections 3 and 4). Norms and biases stay Float32, time layers stay as they are.

import Layers
import Networks
import Quantization
import Recipes
import Tensors

extension DiffusionPipeline {
    /// Replaces the weights that `recipe` names by fake-quantized ones, in place. Layers that are fake-quantized
    /// already keep their latent weights.
    ///
    /// - Parameters:
    ///   - recipe: the bits of every quantized layer of the denoiser, and of any layers of other components.
    ///   - initialization: how scales are initialized.
    ///   - progress: called with the layers done and their number; it may throw to interrupt.
    /// - Throws: `RecipeError` for a recipe that names a layer that does not exist or misses one, before anything
    ///   changes; what `progress` throws.
    public func quantize(
        recipe: BitRecipe, initialization: ScaleInitialization, progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        try recipe.validate(against: layerInventory())
        let layers = components.flatMap { component in
            component.store.weightedLayers.compactMap { layer in
                recipe.layers[component.layerID(layer.path)].map { (layer, $0) }
            }
        }
        for (index, (layer, bits)) in layers.enumerated() {
            layer.weight = FakeQuantizedWeight(
                latent: layer.latentWeight, bits: bits, initialization: initialization)
            try progress(index + 1, layers.count)
        }
    }
}

extension Denoiser {
    /// Replaces the weights of a denoiser alone; see `DiffusionPipeline.quantize`.
    ///
    /// - Throws: `RecipeError`, and what `progress` throws.
    public func quantize(
        recipe: BitRecipe, initialization: ScaleInitialization, progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        try DiffusionPipeline(denoiser: self, textEncoder: nil, schedulerJSON: nil)
            .quantize(recipe: recipe, initialization: initialization, progress: progress)
    }

    /// The parameters of the layers that cached time features replace.
    var timeLayerEntries: [ParameterEntry] { store.entries.filter { isTimeLayer(parameter: $0.key) } }

    /// Whether the parameter `key`, `<layer path>.weight` or `<layer path>.bias`, is one of a time layer.
    public func isTimeLayer(parameter key: String) -> Bool {
        layerPolicy.role(ofLayer: key.split(separator: ".").dropLast().joined(separator: ".")).isTimeLayer
    }
}

extension WeightedLayer {
    /// The layer's weight where it is quantized, packed or in training; nil where it is dense.
    public var quantizedWeight: (any QuantizedWeight)? { weight as? any QuantizedWeight }

    /// Whether the layer's weight is one of codes and scales, packed or in training.
    public var isQuantized: Bool { weight is any QuantizedWeight }

    /// The dense weight as a trainable leaf under the layer's own key.
    var latentWeight: Parameter {
        switch weight {
        case let dense as Parameter: dense
        case let quantized as FakeQuantizedWeight: quantized.latent
        default: Parameter(path + ".weight", weight.tensor().detached())
        }
    }
}
