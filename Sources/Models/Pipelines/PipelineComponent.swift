// SPDX-License-Identifier: Apache-2.0
// The components of a pipeline that have parameters, by their names in diffusers' pipeline folders.

import Checkpoints
import Foundation
import Layers
import Networks
import Recipes

/// One component of a pipeline: the denoiser or a text encoder.
public struct PipelineComponent {
    /// The name in diffusers' model_index.json, such as `unet` or `text_encoder`.
    public let name: String
    /// Whether this is the denoiser, whose layers are named without the component.
    public let isDenoiser: Bool
    /// Every parameter, and every layer with a replaceable weight.
    public let store: ParameterStore
    /// How the quantization method treats each layer.
    public let layerPolicy: any LayerPolicy

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
        let text = textEncoder.map {
            PipelineComponent(
                name: CheckpointHeader.textEncoder, isDenoiser: false, store: $0.store,
                layerPolicy: OptionalLayerPolicy())
        }
        return [main] + (text.map { [$0] } ?? [])
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
        let text = try reader.header.textConfig.map { try CLIPTextConfig(json: Data($0.utf8)).skeleton() }
        // Without a tokenizer, which inspecting the layers does not need.
        self = try DiffusionPipeline(denoiser: config.skeleton(), textEncoder: text, schedulerJSON: nil)
            .layerInventory()
    }
}

extension WeightedLayer {
    /// The bytes of the weight in a packed file where it is not quantized: at 16 bits where these are exact.
    var denseBytes: Int {
        let count = weight.shape.reduce(1, *)
        guard !isQuantized, !(weight is ShapeOnlyWeight) else { return 4 * count }
        return weight.tensor().detached().isExactInFloat16 ? 2 * count : 4 * count
    }
}
