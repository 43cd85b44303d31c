// SPDX-License-Identifier: Apache-2.0
// The size of a packed file before there is one. The writer itself is run, with places for all tensors and no elements, on
// a file that is measured and dropped; what is left when the payload is taken off holds for every recipe.

import Checkpoints
import Foundation
import Layers
import Networks
import Packing
import Recipes
import Tensors

extension ModelInventory {
    /// The layers of a whole model, and what its packed file adds to their payload.
    ///
    /// - Parameters:
    ///   - config: the denoiser.
    ///   - textEncoder: with its values, which decide on its element types; nil for a UNet on its own.
    ///   - schedulerJSON: the diffusers `scheduler_config.json` that the model came with.
    /// - Throws: `RecipeError`, `CheckpointError` where no temporary file can be written.
    public init(
        of config: any DenoiserConfig, textEncoder: CLIPTextModel?, tokenizerName: String?, schedulerJSON: String?
    ) throws {
        let skeleton = try config.skeleton()
        self = try skeleton.inventory()
        let model = try DiffusionPipeline(
            denoiser: skeleton, textEncoder: textEncoder, tokenizerName: tokenizerName, schedulerJSON: schedulerJSON)
        let encoder = model.packedTextEncoder.reduce(0) { $0 + $1.tensor.count * $1.type.bytesPerElement }
        container = PackedContainer(
            cached: try model.containerBytes(.paper, inventory: self) - encoder,
            layersKept: try model.containerBytes(.layersKept, inventory: self) - encoder, textEncoder: encoder
        )
    }
}

extension DiffusionPipeline {
    /// The layers of this model, and what its packed file adds to their payload.
    ///
    /// - Throws: as `ModelInventory.init(of:textEncoder:schedulerJSON:)`.
    public func inventory() throws -> ModelInventory {
        try ModelInventory(
            of: denoiser.config, textEncoder: textEncoder, tokenizerName: tokenizerName, schedulerJSON: schedulerJSON)
    }

    /// The bytes of a packed file beside its payload. Every layer is given the same width: places are all that counts.
    fileprivate func containerBytes(_ storage: TimeFeatureStorage, inventory: ModelInventory) throws -> Int {
        let path = FileManager.default.temporaryDirectory
            .appendingPathComponent("bitsfusion-\(UUID().uuidString).h5").path
        let manifest = RunManifest(toolVersion: "", commandLine: [], seed: nil, inputs: [])
        let writer = try CheckpointWriter(path, header: try header(.packed, manifest))
        let layers = denoiser.quantizedLayers
        for entry in packedEntries(besides: layers, dropsTimeLayers: storage != .layersKept) {
            try writer.reserve(entry.key, type: .float32, shape: entry.source.shape)
        }
        for layer in layers {
            try writer.reservePackedLayer(
                layer.path, shape: layer.weight.shape, codeBytes: layer.weight.shape.reduce(1, *),
                encoding: .radix, scaleType: .float32)
        }
        if case .cached(let steps) = storage {
            let channels = denoiser.timeFeatureChannels.map { ($0.path, $0.channels) }
            try writer.reserveTimeFeatures(
                channels: Dictionary(uniqueKeysWithValues: channels), steps: steps)
        }
        for (key, tensor, type) in packedTextEncoder {
            try writer.reserve(key, in: .textEncoder, type: StorageType(type), shape: tensor.shape)
        }
        let unitBytes = StorageModel { count, _ in count }
        let payload = try unitBytes.storedBytes(
            recipe: .uniform(BitWidth(1), over: inventory), inventory: inventory, timeFeatures: storage)
        return try writer.measure() - payload - storage.cachedSteps * PackedContainer.bytesPerTimestep
    }
}
