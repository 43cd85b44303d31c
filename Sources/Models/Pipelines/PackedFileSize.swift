// SPDX-License-Identifier: Apache-2.0
// The size of a packed file before it is written: what the file contains in addition to codes, scales, time features
// and the denoiser's other parameters. It depends on the model alone, not on a recipe.

import Checkpoints
import Layers
import Networks
import Recipes
import Tensors

/// The size of a component other than the denoiser.
public struct ComponentSize: Sendable {
    /// The name in diffusers' model_index.json.
    public let name: String
    public let parameters: Int
    /// The bytes of its parameters in a packed file if no layer is quantized.
    public let denseBytes: Int
}

extension DiffusionPipeline {
    /// The layers of this model, and the bytes that its packed file adds to them.
    ///
    /// - Throws: `RecipeError` for an architecture that the accounting cannot describe.
    public func inventory() throws -> ModelInventory {
        var inventory = try layerInventory()
        // A model with cached time features may have been built without its time layers.
        let complete =
            denoiser.timeFeatures == nil
            ? self
            : try DiffusionPipeline(
                denoiser: denoiser.config.skeleton(), textEncoders: textEncoders, vae: vae,
                schedulerJSON: schedulerJSON, modelIndexJSON: modelIndexJSON)
        inventory.container = PackedContainer(
            cached: try complete.packedOverhead(.paper), layersKept: try complete.packedOverhead(.layersKept),
            components: otherComponentSizes.reduce(0) { $0 + $1.denseBytes })
        return inventory
    }

    /// The sizes of text encoders and autoencoder.
    public var otherComponentSizes: [ComponentSize] {
        components.filter { !$0.isDenoiser }.map { component in
            let entries = packedEntries(of: component, dropsTimeLayers: false)
            let dense = entries.reduce(0) { bytes, entry in
                let type = (entry.source as? Weight16)?.type ?? packedType(of: entry, component) ?? .float32
                return bytes + entry.source.shape.reduce(1, *) * type.bytesPerElement
            }
            return ComponentSize(
                name: component.name, parameters: component.store.elementCount,
                denseBytes: dense + component.quantizedLayers.reduce(0) { $0 + $1.denseBytes })
        }
    }

    /// An upper bound of the bytes of a packed file in addition to tensor elements, if all layers of all components are
    /// packed.
    fileprivate func packedOverhead(_ storage: TimeFeatureStorage) throws -> Int {
        let manifest = RunManifest(toolVersion: "", commandLine: [], seed: nil, inputs: [])
        var overhead = CheckpointOverhead(header: try header(.packed, manifest))
        for component in components {
            let layers = component.isDenoiser ? denoiser.quantizedLayers : component.store.weightedLayers
            let packedKeys = Set(layers.map { $0.path + ".weight" })
            for entry in packedEntries(of: component, dropsTimeLayers: storage != .layersKept)
            where !packedKeys.contains(entry.key) {
                overhead.addTensor(entry.key, of: component.name, rank: entry.source.shape.count)
            }
            for layer in layers {
                overhead.addPackedLayer(layer.path, of: component.name, rank: layer.weight.shape.count)
            }
        }
        if storage != .layersKept { overhead.addTimeFeatures(denoiser.timeFeatureChannels.map(\.path)) }
        return overhead.bytes
    }
}
