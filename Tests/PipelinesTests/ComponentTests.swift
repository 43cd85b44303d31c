// SPDX-License-Identifier: Apache-2.0
// Components by name: layers of a text encoder are quantized, stored, packed, read and verified as those of the
// denoiser.

import Foundation
import Layers
import Networks
import Packing
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import Pipelines

@Suite struct ComponentTests {
    private static let textLayers = [
        "text_model.encoder.layers.0.mlp.fc1", "text_model.encoder.layers.0.self_attn.q_proj",
    ]

    /// 2 bits for the denoiser, and 3 bits for two layers of the text encoder.
    private func recipe() throws -> BitRecipe {
        var recipe = try TinyModel.recipe(2)
        for path in Self.textLayers { recipe.layers[LayerID(path, of: "text_encoder")] = BitWidth(3) }
        return recipe
    }

    private func student() throws -> DiffusionPipeline {
        let student = try TinyModel.pipeline()
        try student.quantize(recipe: recipe(), initialization: .paper)
        student.freeze()
        return student
    }

    /// Writes with `write`, and reads what it wrote.
    private func written(_ write: (String) throws -> Void) throws -> DiffusionPipeline {
        let folder = try TemporaryFolder(), path = folder.file("model.h5")
        try write(path)
        return try DiffusionPipeline(contentsOf: path)
    }

    private func images(_ pipeline: DiffusionPipeline) throws -> [Float] {
        try pipeline.generate(
            PromptEmbeddings(prompts: ["a red circle"], pipeline: pipeline), seeds: [3],
            options: GenerationOptions(sampler: .ddim, steps: 3, guidanceScale: 2)
        ).values
    }

    @Test("the denoiser's name in front of a path may be left out; that of another component may not")
    func names() {
        #expect(LayerID("unet.conv_in") == "conv_in" && LayerID("transformer.proj_out") == "proj_out")
        #expect(LayerID("transformer_blocks.0.ff") == LayerID(rawValue: "transformer_blocks.0.ff"))
        #expect(LayerID("a.b", of: "text_encoder").rawValue == "text_encoder.a.b")
        #expect(LayerID("a.b", of: nil) == "a.b")
    }

    @Test("the forecast without the VAE's encoder is a bound of the file without it, and below that with it")
    func withoutVAEEncoder() throws {
        let folder = try TemporaryFolder()
        let pipeline = try DiffusionPipeline(contentsOf: ReferencePipelines.imported("sd1", in: folder))
        let inventory = try pipeline.inventory()
        let denoiser = try BitRecipe.uniform(BitWidth(2), over: pipeline.denoiser.inventory())
        func forecast(_ inventory: ModelInventory) throws -> Int {
            try StorageModel { packedByteCountBound(count: $0, levels: $1, encoding: .radix) }.storedBytes(
                recipe: denoiser.quantizingComponents(BitWidth(8), of: inventory), inventory: inventory,
                timeFeatures: .layersKept)
        }
        var options = PackingOptions(encoding: .radix, cachedTimesteps: nil)
        options.keepsVAEEncoder = false
        let path = folder.file("packed.h5")
        let stored = inventory.withoutVAEEncoder
        try pipeline.writePacked(
            to: path, manifest: TinyModel.manifest, options: options,
            quantization: PostTrainingQuantization(
                recipe: denoiser.quantizingComponents(BitWidth(8), of: stored), initialization: .minMax))
        let bytes = try folder.data("packed.h5").count
        let (expected, withEncoder) = (try forecast(stored), try forecast(inventory))
        #expect(bytes <= expected && expected < withEncoder)
        #expect(!stored.componentLayers.contains { $0.layer.path.rawValue.hasPrefix("vae.encoder.") })
        #expect(stored.componentLayers.contains { $0.layer.path.rawValue.hasPrefix("vae.decoder.") })
    }

    @Test("components and their layers have the names of diffusers")
    func components() throws {
        let pipeline = try TinyModel.pipeline()
        #expect(pipeline.components.map(\.name) == ["unet", "text_encoder"])
        let inventory = try pipeline.inventory()
        #expect(inventory.componentLayers.count == 8)
        #expect(inventory.componentLayers.allSatisfy { $0.layer.role == .optional })
        #expect(inventory.componentLayers.allSatisfy { $0.layer.path.rawValue.hasPrefix("text_encoder.text_model.") })
        let text = try JSONEncoder().encode(inventory)
        #expect(try JSONDecoder().decode(ModelInventory.self, from: text) == inventory)
    }

    @Test("a recipe quantizes the layers of the text encoder that it names, and no others")
    func quantize() throws {
        let student = try student()
        #expect(student.recipe?.layers == (try recipe().layers))
        let quantized = try #require(student.textEncoder).store.weightedLayers.filter(\.isQuantized).map(\.path)
        #expect(Set(quantized) == Set(Self.textLayers))
        var foreign = try recipe()
        foreign.layers["text_encoder.nowhere"] = BitWidth(2)
        #expect(throws: RecipeError.unknownLayer(path: "text_encoder.nowhere")) {
            try TinyModel.pipeline().quantize(recipe: foreign, initialization: .paper)
        }
    }

    @Test("a student and a packed model come back with their text encoder's codes, and equal each other")
    func files() throws {
        let student = try student()
        let read = try written { try student.writeStudent(to: $0, manifest: TinyModel.manifest) }
        #expect(read.seenBits == student.seenBits && read.recipe?.layers == student.recipe?.layers)
        let packed = try written {
            try student.writePacked(
                to: $0, manifest: TinyModel.manifest, options: PackingOptions(cachedTimesteps: nil))
        }
        #expect(packed.recipe?.layers == student.recipe?.layers)
        let layer = try #require(packed.textEncoder?.store.layer(at: Self.textLayers[0]))
        #expect(layer.weight is PackedWeight)
        let verification = try PackedVerification(packed, isPackedFrom: student, seed: 1)
        #expect(verification.isEqual, "\(verification.differences)")
        #expect(verification.layers == (try recipe().layers.count))
        packed.activations = .float32
        expectClose(try images(packed), try images(student), Tolerance(absolute: 1e-4, relative: 1e-4), "packed")
    }

    @Test("a difference in the text encoder is named with its component")
    func differences() throws {
        let student = try student()
        let packed = try written {
            try student.writePacked(
                to: $0, manifest: TinyModel.manifest, options: PackingOptions(cachedTimesteps: nil))
        }
        let layer = try #require(student.textEncoder?.store.layer(at: Self.textLayers[1]))
        let weight = try #require(layer.weight as? FakeQuantizedWeight)
        weight.latent.value = weight.latent.value * -1
        let differences = try PackedVerification(packed, isPackedFrom: student, seed: 1).differences
        #expect(differences.map(\.name) == ["text_encoder." + Self.textLayers[1]])
    }

    @Test("codes take the place of a text encoder's weights in forecasts of the stored bytes")
    func storedBytes() throws {
        let inventory = try TinyModel.pipeline().inventory()
        let storage = StorageModel.fixedFields
        let plain = try storage.storedBytes(
            recipe: TinyModel.recipe(2), inventory: inventory, timeFeatures: .layersKept)
        let mixed = try storage.storedBytes(recipe: recipe(), inventory: inventory, timeFeatures: .layersKept)
        let named = inventory.componentLayers.filter { component in
            Self.textLayers.contains { LayerID($0, of: "text_encoder") == component.layer.path }
        }
        let change = named.reduce(0) {
            $0 + storage.quantizedBytes($1.layer, BitWidth(3)) - $1.denseBytes
        }
        #expect(named.count == 2 && mixed == plain + change && mixed < plain)
    }
}
