// SPDX-License-Identifier: Apache-2.0
// Inventories of architectures, from a config alone: Stable Diffusion v1.5's published totals, and a built model.

import Checkpoints
import Foundation
import Layers
import Networks
import Recipes
import TestKit
import Testing

@testable import Pipelines

@Suite struct ModelInventoryTests {
    /// The config that the project ships.
    private static let stableDiffusion15 = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Configs/unet-sd15.json")

    @Test("Stable Diffusion v1.5 has the paper's totals")
    func stableDiffusion() throws {
        let config = try UNet2DConditionConfig(json: Data(contentsOf: Self.stableDiffusion15))
        let inventory = try config.inventory()
        #expect(inventory.layers.count == 282)
        #expect(inventory.weightCount == 859_077_120)
        #expect(inventory.otherParameters == 443_844)
        #expect(inventory.timeLayers.count == 24)
        #expect(inventory.quantizedLayers.filter { $0.role == .searched }.count == 256)
        #expect(inventory.timeFeaturesPerStep * 50 == 1_008_000)
    }

    @Test("the published recipe fits Stable Diffusion v1.5 and comes to 1.9885 bits")
    func publishedRecipe() throws {
        let config = try UNet2DConditionConfig(json: Data(contentsOf: Self.stableDiffusion15))
        let folder = Self.stableDiffusion15.deletingLastPathComponent().appending(path: "recipes")
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        let published = try #require(files.first { $0.lastPathComponent.contains("sd15") })
        let size = try SizeAccounting(
            recipe: BitRecipe.load(contentsOf: published), inventory: config.inventory(),
            timeFeatures: .paper)
        #expect(abs(size.averageBits - 1.9885) < 0.00005)
    }

    @Test("an inventory counts what a built model holds")
    func builtModel() throws {
        let unet = try TinyModel.unet()
        let inventory = try unet.config.inventory()
        #expect(inventory.weightCount + inventory.otherParameters == unet.store.elementCount)
        #expect(Set(inventory.layers.map(\.path.rawValue)) == Set(unet.store.weightedLayers.map(\.path)))
        for layer in inventory.layers {
            let built = try #require(unet.store.layer(at: layer.path.rawValue))
            #expect(layer.shape == built.weight.shape)
            #expect(layer.hasBias == (built.bias != nil))
        }
        #expect(
            inventory.quantizedLayers.map(\.path.rawValue).sorted()
                == unet.quantizedLayers.map(\.path).sorted())
    }
}
