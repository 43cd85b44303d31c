// SPDX-License-Identifier: Apache-2.0
// The layers of a UNet as size accounting and allocation see them, from a config alone: no weights are held.

import Layers
import Networks
import Recipes
import Tensors

extension ModelInventory {
    /// The layers of the architecture `config`, time layers included.
    ///
    /// - Throws: `RecipeError` for an architecture that the accounting cannot describe.
    public init(unet config: UNet2DConditionConfig) throws {
        let model = try UNet2DConditionModel(
            config: config, parameters: ParameterPath(ParameterStore(provider: ShapeOnlyProvider())))
        let layers = model.store.weightedLayers.map { layer in
            LayerShape(
                path: LayerID(layer.path), kind: layer.kind == .linear ? .linear : .conv2d,
                shape: layer.weight.shape,
                hasBias: layer.bias != nil)
        }
        try self.init(
            layers: layers, otherParameters: model.store.elementCount - layers.reduce(0) { $0 + $1.weights })
    }
}

extension UNet2DConditionModel {
    /// The layers that the method quantizes, in construction order.
    public var quantizableLayers: [any WeightedLayer] {
        store.weightedLayers.filter { LayerRole(of: LayerID($0.path)).isQuantized }
    }
}

/// Gives every large weight its shape and no numbers.
struct ShapeOnlyProvider: ParameterProvider {
    func weight(_ key: String, shape: [Int], initializer: Initializer) -> any WeightSource {
        shape.count > 1 ? ShapeOnlyWeight(shape) : Parameter(key, .zeros(shape), isTrainable: false)
    }
}

/// A weight that has a shape and cannot be computed with: for looking at architectures.
final class ShapeOnlyWeight: WeightSource {
    let shape: [Int]

    init(_ shape: [Int]) { self.shape = shape }

    var parameters: [Parameter] { [] }

    func tensor() -> Tensor {
        preconditionFailure("a weight \(shape) that only has a shape was computed with")
    }
}
