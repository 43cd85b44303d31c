// SPDX-License-Identifier: Apache-2.0
// What a model costs: the paper's average bits, and the bytes that it takes, or would take when packed.

import BitsFusion
import Foundation

/// Size of one model file.
struct ModelSize: Codable {
    /// Bits per weight of all linear and convolution layers: the paper's formula for students and packed models, the
    /// element type's for dense ones.
    let averageBits: Double
    /// Bytes of a dense or packed file; for a student, whose file holds latent weights, what it takes when packed.
    let packedBytes: Int
    /// Bytes of the file as it is.
    let fileBytes: Int

    /// - Throws: `RecipeError`.
    init(of pipeline: DiffusionPipeline, file: String) throws {
        let attributes = try? FileManager.default.attributesOfItem(atPath: file)
        fileBytes = (attributes?[.size] as? NSNumber)?.intValue ?? 0
        guard let recipe = pipeline.recipe else {
            averageBits = Self.denseBits(pipeline)
            packedBytes = fileBytes
            return
        }
        let inventory = try pipeline.inventory()
        let table = pipeline.denoiser.timeFeatures
        let storage: TimeFeatureStorage =
            table.map { .cached(steps: $0.timesteps.count) } ?? (inventory.cachesTimeFeatures ? .paper : .layersKept)
        averageBits = try SizeAccounting(recipe: recipe, inventory: inventory, timeFeatures: storage)
            .averageBits
        let isPacked =
            table != nil || pipeline.isPacked
        packedBytes =
            isPacked
            ? fileBytes
            : try StorageModel.packed(.radix).storedBytes(
                recipe: recipe, inventory: inventory, timeFeatures: storage)
    }

    /// The mean over weights of their element type's bits.
    private static func denseBits(_ pipeline: DiffusionPipeline) -> Double {
        var (bits, count) = (0, 0)
        for layer in pipeline.denoiser.store.weightedLayers {
            let size = layer.weight.shape.reduce(1, *)
            count += size
            bits += size * ((layer.weight as? Weight16)?.type.bytesPerElement ?? 4) * 8
        }
        return count == 0 ? 0 : Double(bits) / Double(count)
    }
}
