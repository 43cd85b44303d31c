// SPDX-License-Identifier: Apache-2.0
// The size of a packed file before it is written: what the file contains in addition to codes, scales, time features
// and the denoiser's other parameters. It depends on the model alone, not on a recipe.

import Checkpoints
import Layers
import Networks
import Recipes
import Tensors

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
                denoiser: denoiser.config.skeleton(), textEncoder: textEncoder, tokenizerName: tokenizerName,
                schedulerJSON: schedulerJSON)
        let others = packedTextEncoder.reduce(0) { $0 + $1.tensor.count * $1.type.bytesPerElement }
        let quantized = components.filter { !$0.isDenoiser }.flatMap(\.quantizedLayers)
        inventory.container = PackedContainer(
            cached: try complete.packedOverhead(.paper), layersKept: try complete.packedOverhead(.layersKept),
            textEncoder: others + quantized.reduce(0) { $0 + $1.denseBytes })
        return inventory
    }

    /// An upper bound of the bytes of a packed file in addition to tensor elements.
    fileprivate func packedOverhead(_ storage: TimeFeatureStorage) throws -> Int {
        let manifest = RunManifest(toolVersion: "", commandLine: [], seed: nil, inputs: [])
        var overhead = CheckpointOverhead(header: try header(.packed, manifest))
        let layers = denoiser.quantizedLayers
        let quantizedKeys = Set(layers.map { $0.path + ".weight" })
        for entry in packedEntries(dropsTimeLayers: storage != .layersKept) where !quantizedKeys.contains(entry.key) {
            overhead.addTensor(entry.key, rank: entry.source.shape.count)
        }
        for layer in layers { overhead.addPackedLayer(layer.path, rank: layer.weight.shape.count) }
        for component in components where !component.isDenoiser {
            for layer in component.quantizedLayers {
                overhead.addPackedLayer(layer.path, of: component.name, rank: layer.weight.shape.count)
            }
        }
        if storage != .layersKept { overhead.addTimeFeatures(denoiser.timeFeatureChannels.map(\.path)) }
        for (key, tensor, _) in packedTextEncoder {
            overhead.addTensor(key, of: CheckpointHeader.textEncoder, rank: tensor.rank)
        }
        return overhead.bytes
    }
}
