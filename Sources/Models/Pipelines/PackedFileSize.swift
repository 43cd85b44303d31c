// SPDX-License-Identifier: Apache-2.0
// The size of a packed file before it is written: what the file contains in addition to codes, scales, time features
// and the denoiser's other parameters. It depends on the model alone, not on a recipe.

import Checkpoints
import Layers
import Networks
import Recipes
import Tensors

extension ModelInventory {
    /// The layers of a whole model, and the bytes that its packed file adds to them.
    ///
    /// - Parameters:
    ///   - config: the denoiser.
    ///   - textEncoder: with its values, which decide its element types; nil for a denoiser on its own.
    ///   - tokenizerName: the text encoder's tokenizer; nil for a denoiser on its own.
    ///   - schedulerJSON: the diffusers `scheduler_config.json` that the model came with.
    /// - Throws: `RecipeError`.
    public init(
        of config: any DenoiserConfig, textEncoder: CLIPTextModel?, tokenizerName: String?, schedulerJSON: String?
    ) throws {
        let skeleton = try config.skeleton()
        self = try skeleton.inventory()
        let model = try DiffusionPipeline(
            denoiser: skeleton, textEncoder: textEncoder, tokenizerName: tokenizerName, schedulerJSON: schedulerJSON)
        container = PackedContainer(
            cached: try model.packedOverhead(.paper), layersKept: try model.packedOverhead(.layersKept),
            textEncoder: model.packedTextEncoder.reduce(0) { $0 + $1.tensor.count * $1.type.bytesPerElement })
    }
}

extension DiffusionPipeline {
    /// The layers of this model, and the bytes that its packed file adds to them.
    ///
    /// - Throws: as `ModelInventory.init(of:textEncoder:tokenizerName:schedulerJSON:)`.
    public func inventory() throws -> ModelInventory {
        try ModelInventory(
            of: denoiser.config, textEncoder: textEncoder, tokenizerName: tokenizerName, schedulerJSON: schedulerJSON)
    }

    /// An upper bound of the bytes of a packed file in addition to tensor elements.
    fileprivate func packedOverhead(_ storage: TimeFeatureStorage) throws -> Int {
        let manifest = RunManifest(toolVersion: "", commandLine: [], seed: nil, inputs: [])
        var overhead = CheckpointOverhead(header: try header(.packed, manifest))
        let layers = denoiser.quantizedLayers
        for entry in packedEntries(besides: layers, dropsTimeLayers: storage != .layersKept) {
            overhead.addTensor(entry.key, rank: entry.source.shape.count)
        }
        for layer in layers { overhead.addPackedLayer(layer.path, rank: layer.weight.shape.count) }
        if storage != .layersKept { overhead.addTimeFeatures(denoiser.timeFeatureChannels.map(\.path)) }
        for (key, tensor, _) in packedTextEncoder {
            overhead.addTensor(key, of: CheckpointHeader.textEncoder, rank: tensor.rank)
        }
        return overhead.bytes
    }
}
