// SPDX-License-Identifier: Apache-2.0
// Input files for the program: the tiny latent model, a recipe, prediction inputs and embeddings.

import BitsFusion
import Foundation
import TestKit
import Testing

extension TemporaryFolder {
    /// Writes config.json, model.h5 and recipe.json (3 bits).
    func makeModel(_ config: String = TinyModel.latentJSON) throws {
        try write("config.json", config)
        let made = try run("init", "--config", "config.json", "--seed", "7", "-o", "model.h5")
        try #require(made.status == 0, "\(made.errors)")
        let inventory = try UNet2DConditionConfig(json: Data(config.utf8)).inventory()
        try BitRecipe.uniform(BitWidth(3), over: inventory).write(to: url("recipe.json"))
    }

    /// Writes a safetensors file of float32 tensors.
    func write(_ tensors: [String: Tensor], to name: String) throws { try writeTensors(name, tensors) }

    /// Writes in.safetensors, inputs of one prediction at the cached timestep 21.
    func makeInputs() throws {
        var random = Philox(seed: 1)
        try write(
            [
                "sample": random.normal([2, 4, 4, 4]), "timestep": .full([2], 21),
                "encoder_hidden_states": random.normal([2, 3, 6]),
            ], to: "in.safetensors")
    }

    /// Writes e.safetensors, embeddings of two prompts.
    func makeEmbeddings() throws {
        var random = Philox(seed: 2)
        try write(
            [
                "encoder_hidden_states": random.normal([2, 3, 6]),
                "negative_encoder_hidden_states": .zeros([1, 3, 6]),
            ], to: "e.safetensors")
    }
}
