// SPDX-License-Identifier: Apache-2.0
// The inputs that the tests of this target share: Stable Diffusion v1.5's layers and the published recipe.

import Foundation
import Tensors
import TestKit
import Testing

@testable import Recipes

enum RecipeFixtures {
    /// Every linear and convolution layer of Stable Diffusion v1.5's UNet, listed by
    /// Tests/Fixtures/make_sd15_layers.py.
    static func stableDiffusion15() throws -> ModelInventory {
        let url = try #require(
            Bundle.module.url(forResource: "sd15-layers", withExtension: "json", subdirectory: "Fixtures"))
        return try JSONDecoder().decode(ModelInventory.self, from: Data(contentsOf: url))
    }

    /// The recipe that ships in Configs/recipes.
    static let publishedRecipe = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Configs/recipes/sd15-bitsfusion-1.99.json")

    /// Two quantizable layers, the first and last convolution, and two time layers.
    static func tinyModel() throws -> ModelInventory {
        try ModelInventory(
            layers: [
                LayerShape(path: "conv_in", kind: .conv2d, shape: [8, 3, 3, 3], hasBias: true),
                LayerShape(path: "conv_out", kind: .conv2d, shape: [3, 8, 3, 3], hasBias: true),
                LayerShape(path: "mid.a", kind: .linear, shape: [8, 10], hasBias: false),
                LayerShape(path: "mid.b", kind: .conv2d, shape: [8, 8, 1, 1], hasBias: true),
                LayerShape(path: "mid.time_emb_proj", kind: .linear, shape: [8, 16], hasBias: true),
                LayerShape(path: "time_embedding.linear_1", kind: .linear, shape: [16, 4], hasBias: true),
            ], otherParameters: 100)
    }
}

/// The error that `body` throws, as a value; nil if it throws none.
func recipeError(_ body: () throws(RecipeError) -> Void) -> RecipeError? {
    do {
        try body()
        return nil
    } catch {
        return error
    }
}
