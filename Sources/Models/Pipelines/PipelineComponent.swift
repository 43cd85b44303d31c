// SPDX-License-Identifier: Apache-2.0
// The components of a pipeline that have parameters, by their names in diffusers' pipeline folders.

import Checkpoints
import Foundation
import Layers
import Networks
import Recipes
import Tensors

/// One component of a pipeline: the denoiser, a text encoder or the autoencoder.
public struct PipelineComponent {
    /// The name in diffusers' model_index.json, such as `unet` or `text_encoder`.
    public let name: String
    /// Whether this is the denoiser, whose layers are named without the component.
    public let isDenoiser: Bool
    /// Every parameter, and every layer with a replaceable weight.
    public let store: ParameterStore
    /// How the quantization method treats each layer.
    public let layerPolicy: any LayerPolicy

    /// The group of the component's dense parameters in a checkpoint.
    var section: CheckpointSection { .component(name) }

    /// The name of the layer at `path` in recipes and inventories.
    public func layerID(_ path: String) -> LayerID { LayerID(path, of: isDenoiser ? nil : name) }

    /// The quantized layers, in training or packed.
    var quantizedLayers: [any WeightedLayer] { store.weightedLayers.filter(\.isQuantized) }
}

extension DiffusionPipeline {
    /// The components with parameters, the denoiser first.
    public var components: [PipelineComponent] {
        let main = PipelineComponent(
            name: denoiser.config.component, isDenoiser: true, store: denoiser.store,
            layerPolicy: denoiser.layerPolicy)
        var others = textEncoders.map { ($0.name, $0.store) }
        if let vae { others.append((CheckpointHeader.vae, vae.store)) }
        return [main]
            + others.map { name, store in
                PipelineComponent(name: name, isDenoiser: false, store: store, layerPolicy: OptionalLayerPolicy())
            }
    }

    /// The layers of all components, without what a packed file adds to them.
    ///
    /// - Throws: `RecipeError` for an architecture that the accounting cannot describe.
    public func layerInventory() throws -> ModelInventory {
        var inventory = try denoiser.inventory()
        inventory.componentLayers = components.filter { !$0.isDenoiser }.flatMap { component in
            component.store.weightedLayers.map { layer in
                ComponentLayer(
                    LayerShape(layer, path: component.layerID(layer.path), policy: component.layerPolicy),
                    denseBytes: layer.denseBytes)
            }
        }
        return inventory
    }
}

extension ModelInventory {
    /// The layers of all components of a checkpoint, from its configs alone.
    ///
    /// - Throws: `ConfigError`, `RecipeError`.
    public init(layersOf reader: CheckpointReader) throws {
        let config = try DenoiserRegistry.config(architecture: reader.header.architecture, json: reader.header.config)
        self = try DiffusionPipeline(skeletonOf: reader, config).layerInventory()
    }
}

extension ModelInventory {
    /// The inventory of a packed file without the encoder of the autoencoder. The encoder's norms and biases, a small
    /// part, are not known apart from the others and still count.
    public var withoutVAEEncoder: ModelInventory {
        let prefix = CheckpointHeader.vae + "."
        func isEncoder(_ layer: ComponentLayer) -> Bool {
            let path = layer.layer.path.rawValue
            return path.hasPrefix(prefix) && AutoencoderKL.isEncoder(parameter: String(path.dropFirst(prefix.count)))
        }
        var inventory = self
        inventory.componentLayers.removeAll(where: isEncoder)
        let bytes = componentLayers.filter(isEncoder).reduce(0) { $0 + $1.denseBytes }
        inventory.container = container.map {
            PackedContainer(cached: $0.cached, layersKept: $0.layersKept, components: $0.components - bytes)
        }
        return inventory
    }
}

extension WeightedLayer {
    /// The bytes of the weight in a packed file where it is not quantized: at 16 bits where these are exact.
    var denseBytes: Int {
        let count = weight.shape.reduce(1, *)
        if weight is Weight16 { return 2 * count }
        guard !isQuantized, !(weight is ShapeOnlyWeight) else { return 4 * count }
        return weight.tensor().detached().isExactInFloat16 ? 2 * count : 4 * count
    }
}
