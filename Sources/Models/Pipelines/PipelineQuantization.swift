// SPDX-License-Identifier: Apache-2.0
// Turns a full-precision model into a quantized one: the weights that a recipe names are replaced by fake-quantized
// ones (BitsFusion, arXiv:2406.04333, sections 3 and 4). Norms and biases stay Float32, time layers stay as they are.

import Layers
import Networks
import Quantization
import Recipes
import Tensors

/// Quantization of dense layers without training.
public struct PostTrainingQuantization: Sendable {
    /// The bits of every quantized layer of the denoiser, and of any layers of other components.
    public var recipe: BitRecipe
    /// How scales are initialized.
    public var initialization: ScaleInitialization
    /// The grids of the denoiser.
    public var grid: GridKind

    public init(recipe: BitRecipe, initialization: ScaleInitialization = .paper, grid: GridKind = .balanced) {
        self.recipe = recipe
        self.initialization = initialization
        self.grid = grid
    }

    /// The bits of a layer; nil for one that the recipe does not name.
    func bits(of layer: any WeightedLayer, in component: PipelineComponent) -> BitWidth? {
        recipe.layers[component.layerID(layer.path)]
    }

    /// The grid of a layer; nil for one that the recipe does not name.
    private func grid(of layer: any WeightedLayer, in component: PipelineComponent) -> QuantizationGrid? {
        bits(of: layer, in: component).map { bits in
            let nearest = grid == .lsq && component.isDenoiser ? QuantizationGrid(lsq: bits) : component.grid(bits)
            return recipe.addingDeadZone(to: nearest, of: component.layerID(layer.path))
        }
    }

    /// The quantized weight of a layer, which keeps its scales if it is fake-quantized on the same grid; nil for one
    /// that the recipe does not name.
    func weight(of layer: any WeightedLayer, in component: PipelineComponent) -> FakeQuantizedWeight? {
        grid(of: layer, in: component).map { grid in
            if let trained = layer.weight as? FakeQuantizedWeight, trained.grid == grid { return trained }
            return FakeQuantizedWeight(latent: layer.latentWeight, grid: grid, initialization: initialization)
        }
    }
}

extension PipelineComponent {
    /// The grid of a layer of this component with nominal `bits`.
    ///
    /// The denoiser has the paper's grids of 2^b + 1 levels. Its first and last layer, of 257 levels, are multiplied as
    /// floats. In other components most layers have 8 bits; they get 255 levels, which integer kernels multiply.
    func grid(_ bits: BitWidth) -> QuantizationGrid {
        isDenoiser ? QuantizationGrid(bits) : QuantizationGrid(fittingInByte: bits)
    }
}

extension DiffusionPipeline {
    /// Replaces the weights that `recipe` names by fake-quantized ones, in place. Layers that are fake-quantized
    /// already keep their latent weights, and on the same grid their scales.
    ///
    /// - Parameters:
    ///   - recipe: the bits of every quantized layer of the denoiser, and of any layers of other components.
    ///   - initialization: how scales are initialized.
    ///   - grid: the grids of the denoiser.
    ///   - progress: called with the layers done and their number; it may throw to interrupt.
    /// - Throws: `RecipeError` for a recipe that names a layer that does not exist or misses one, before anything
    ///   changes; what `progress` throws.
    public func quantize(
        recipe: BitRecipe, initialization: ScaleInitialization, grid: GridKind = .balanced,
        progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        try recipe.validate(against: layerInventory())
        let quantization = PostTrainingQuantization(recipe: recipe, initialization: initialization, grid: grid)
        let layers = components.flatMap { component in
            component.store.weightedLayers.filter { quantization.bits(of: $0, in: component) != nil }
                .map { (component, $0) }
        }
        for (index, (component, layer)) in layers.enumerated() {
            if let weight = quantization.weight(of: layer, in: component) { layer.weight = weight }
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
        try DiffusionPipeline(denoiser: self, schedulerJSON: nil)
            .quantize(recipe: recipe, initialization: initialization, progress: progress)
    }

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

extension ParameterStore {
    /// Sets the type that packed layers quantize their inputs to.
    public func setActivations(_ type: ActivationType) {
        for layer in weightedLayers { (layer.weight as? PackedWeight)?.activations = type }
    }
}
