// SPDX-License-Identifier: Apache-2.0
// A student: the teacher's UNet with every quantizable weight seen through its balanced grid
// (BitsFusion, arXiv:2406.04333, sections 3 and 4). Norms and biases stay Float32; time layers stay as they are and are
// frozen, since cached time features replace them (section 4.1).

import Layers
import Networks
import Pipelines
import Quantization
import Recipes
import Tensors

/// Puts fake-quantized weights into a UNet.
public enum StudentModel {
    /// Replaces the weights that `recipe` names by fake-quantized ones of its widths.
    ///
    /// - Parameters:
    ///   - unet: a full-precision model; changed in place.
    ///   - recipe: one width per quantizable layer.
    ///   - initialization: how scales start.
    ///   - progress: called with the layers done and their number.
    /// - Throws: `RecipeError` when the recipe names a layer that does not exist or misses one.
    public static func quantize(
        _ unet: UNet2DConditionModel, recipe: BitRecipe, initialization: ScaleInitialization,
        progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        try recipe.validate(against: ModelInventory(unet: unet.config))
        let layers = unet.quantizableLayers
        for (index, layer) in layers.enumerated() {
            let id = LayerID(layer.path)
            guard let width = recipe.layers[id] else { throw RecipeError.missingLayer(path: id) }
            layer.weight = FakeQuantizedWeight(
                latent: layer.latentWeight, width: width, initialization: initialization)
            try progress(index + 1, layers.count)
        }
    }

    /// Trainable leaves of a student: latent weights, biases and norms on one side, scales on the other; everything
    /// that cached time features replace is frozen.
    public static func trainableParameters(_ unet: UNet2DConditionModel) -> (
        weights: [Parameter], scales: [Parameter]
    ) {
        let scales = unet.quantizableLayers.compactMap { ($0.weight as? FakeQuantizedWeight)?.scaleParameter }
        let scaleNames = Set(scales.map(\.name))
        let weights = unet.store.parameters.filter { !scaleNames.contains($0.name) }
        for parameter in weights { parameter.isTrainable = !LayerRole(of: parameter.layerID).isTimeLayer }
        return (weights.filter(\.isTrainable), scales)
    }
}

extension WeightedLayer {
    /// The dense weight as a trainable leaf under the layer's own key.
    var latentWeight: Parameter {
        switch weight {
        case let dense as Parameter: dense
        case let student as FakeQuantizedWeight: student.latent
        default: Parameter(path + ".weight", weight.tensor().detached())
        }
    }
}

extension Parameter {
    /// The layer that a key `<path>.weight` or `<path>.bias` belongs to.
    var layerID: LayerID { LayerID(name.split(separator: ".").dropLast().joined(separator: ".")) }
}
