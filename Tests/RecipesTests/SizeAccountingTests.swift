// SPDX-License-Identifier: Apache-2.0

import Foundation
import Tensors
import TestKit
import Testing

@testable import Recipes

@Suite struct SizeAccountingTests {
    @Test("Stable Diffusion v1.5 has the paper's layers")
    func inventory() throws {
        let model = try RecipeFixtures.stableDiffusion15()
        #expect(model.layers.count == 282)
        #expect(model.weightCount == 859_077_120)
        #expect(model.timeLayers.count == 24)
        #expect(model.quantizedLayers.filter { $0.role == .searched }.count == 256)
        #expect(model.timeFeaturesPerStep * 50 == 1_008_000)
        #expect(model.otherParameters == 443_844)
    }

    @Test("the published recipe has 1.9885 bits and 215.3 MB on Stable Diffusion v1.5")
    func publishedRecipe() throws {
        let model = try RecipeFixtures.stableDiffusion15()
        let recipe = try BitRecipe.load(contentsOf: RecipeFixtures.publishedRecipe)
        let size = try SizeAccounting(recipe: recipe, inventory: model, timeFeatures: .paper)
        #expect(abs(size.averageBits - 1.9885) < 0.00005)
        #expect(recipe.averageBits == size.averageBits)
        // The figure of 215.3 MB counts no scales, and the biases of the dropped time layers.
        let published =
            size.quantizedWeights.bytes + size.timeFeatures.bytes + Double(model.otherParameters * 4)
        #expect(abs(published / 1e6 - 215.3) < 0.05)
        #expect(size.scales.count == 295_684)
        #expect(size.weightsByBits[BitWidth(1)] == 502_743_040)
    }

    @Test("the parts of a small model are those of a calculation by hand")
    func parts() throws {
        let model = try RecipeFixtures.tinyModel()
        let layers: [LayerID: BitWidth] = [
            "conv_in": BitWidth(8), "conv_out": BitWidth(8), "mid.a": BitWidth(1), "mid.b": BitWidth(2),
        ]
        let size = try SizeAccounting(
            recipe: BitRecipe(layers: layers), inventory: model, timeFeatures: .cached(steps: 5),
            bitsPerScale: 16)
        // 216 + 216 weights at 257 levels, 80 at 3, 64 at 5; time layers of 128 and 64 weights are removed.
        #expect(size.weightCount == 432 + 80 + 64 + 128 + 64)
        let bits: Double =
            432 * BitWidth(8).effectiveBits + 80 * BitWidth(1).effectiveBits + 64 * BitWidth(2).effectiveBits
        let scaleBits: Double = 27 * 16
        let otherBits: Double = 76 * 32
        #expect(abs(size.quantizedWeights.bits - bits) < 1e-9)
        #expect(size.timeFeatures == .init(count: 5 * 8, bits: 640))
        #expect(size.scales == .init(count: 8 + 3 + 8 + 8, bits: scaleBits))
        #expect(size.otherParameters == .init(count: 100 - 8 - 16, bits: otherBits))
        #expect(abs(size.averageBits - (bits + 640) / 768) < 1e-12)
        #expect(abs(size.averageBits(of: size.scales) - scaleBits / 768) < 1e-12)
    }

    @Test("kept time layers count 32 bits per weight")
    func keptTimeLayers() throws {
        let model = try RecipeFixtures.tinyModel()
        let size = try SizeAccounting(
            recipe: .uniform(BitWidth(2), over: model), inventory: model, timeFeatures: .layersKept)
        #expect(size.timeFeatures == .init(count: 192, bits: 192 * 32))
        #expect(size.otherParameters.count == 100)
    }

    @Test("the forecast of stored bytes adds codes, scales, time features and the rest")
    func storedBytes() throws {
        let model = try RecipeFixtures.tinyModel()
        let recipe = BitRecipe.uniform(BitWidth(2), over: model)
        let bytes = try StorageModel.fixedFields.storedBytes(
            recipe: recipe, inventory: model, timeFeatures: .cached(steps: 5))
        // 9-bit fields: 216 codes take 243 bytes; 3-bit fields: 80 take 30, 64 take 24.
        #expect(bytes == 243 * 2 + 30 + 24 + 27 * 4 + 40 * 2 + 76 * 4)
        let halfScales = StorageModel(bytesPerScale: 2) { count, _ in count }
        let wide = try halfScales.storedBytes(recipe: recipe, inventory: model, timeFeatures: .layersKept)
        #expect(wide == 432 + 80 + 64 + 27 * 2 + 192 * 4 + 100 * 4)
    }

    @Test("a recipe for another model is refused with the layer's name")
    func mismatch() throws {
        let model = try RecipeFixtures.tinyModel()
        var recipe = BitRecipe.uniform(BitWidth(2), over: model)
        recipe.layers["mid.c"] = BitWidth(2)
        #expect(
            recipeError { () throws(RecipeError) in try recipe.validate(against: model) }
                == .unknownLayer(path: "mid.c"))
        recipe.layers["mid.c"] = nil
        recipe.layers["mid.time_emb_proj"] = BitWidth(2)
        #expect(
            recipeError { () throws(RecipeError) in try recipe.validate(against: model) }
                == .notQuantizable(path: "mid.time_emb_proj", role: .timeProjection))
        recipe.layers["mid.time_emb_proj"] = nil
        recipe.layers["mid.b"] = nil
        #expect(
            throws: RecipeError.missingLayer(path: "mid.b"),
            performing: { try SizeAccounting(recipe: recipe, inventory: model, timeFeatures: .paper) })
    }

    @Test("an inventory with a duplicate path, or with fewer parameters than biases, is refused")
    func faultyInventory() {
        let layer = LayerShape(path: "a", kind: .linear, shape: [4, 2], hasBias: true)
        #expect(throws: RecipeError.duplicateLayer(path: "a")) {
            try ModelInventory(layers: [layer, layer], otherParameters: 8)
        }
        #expect(throws: RecipeError.self) { try ModelInventory(layers: [layer], otherParameters: 3) }
        let text =
            """
            {"layers": [{"path": "a", "kind": "linear", "shape": [4, 2, 1, 1], "bias": true, "role": "searched", \
            "group": "other"}], "otherParameters": 4, "cachesTimeFeatures": true}
            """
        #expect(throws: RecipeError.self) {
            try JSONDecoder().decode(ModelInventory.self, from: Data(text.utf8))
        }
    }
}
