// SPDX-License-Identifier: Apache-2.0
// One model through every command without training, by the built program.

import BitsFusion
import Foundation
import TestKit
import Testing

@Suite("The program, from a random model to a diffusers folder")
struct CommandChainTests {
    @Test("init, info, quantize, predict, sample, export and import agree", .slow)
    func commandChain() throws {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        try folder.makeInputs()
        try folder.makeEmbeddings()

        let quantized = try folder.run(
            "quantize", "model.h5", "--recipe", "recipe.json", "-o", "packed.h5", "--json")
        #expect(quantized.status == 0, "\(quantized.errors)")
        let report = try object(quantized.output)
        let info = try object(folder.run("info", "packed.h5", "--json").output)
        let size = try #require(info["quantized"] as? [String: Any])
        #expect(report["averageBits"] as? Double == size["averageBits"] as? Double)
        #expect(size["cachedSteps"] as? Int == 50)
        #expect(report["storedBytes"] as? Int == (try folder.data("packed.h5").count))

        // The exported folder computes what the packed file computes: the cached features are rounded to 16 bits.
        try succeed(folder.run("export", "packed.h5", "-o", "folder"))
        try succeed(folder.run("import", "folder", "-o", "dequantized.h5"))
        for model in ["model", "packed", "dequantized"] {
            try succeed(
                folder.run(
                    "predict", "\(model).h5", "--inputs", "in.safetensors", "-o", "\(model).safetensors",
                    "--activations", "fp32"))
        }
        try succeed(
            folder.run("predict", "packed.h5", "--inputs", "in.safetensors", "-o", "rounded.safetensors"))
        let dense = try prediction(folder, "model"), packed = try prediction(folder, "packed")
        let dequantized = try prediction(folder, "dequantized")
        #expect(distance(packed, dequantized) < 1e-3 * largest(packed))
        let rounded = try prediction(folder, "rounded")
        #expect(distance(packed, rounded) > 1e-3 * largest(packed), "int8 is the default")
        #expect(distance(packed, rounded) < 0.2 * largest(packed))
        #expect(distance(packed, dense) > 1e-3 * largest(dense))

        try succeed(
            folder.run(
                "sample", "packed.h5", "--embeddings", "e.safetensors", "--columns", "1", "-o", "grid.png"))
        #expect(try folder.data("grid.png").starts(with: [0x89, 0x50, 0x4E, 0x47]))
        let latents = try SafetensorsReader(folder.file("grid.safetensors")).tensor("latents")
        #expect(latents.shape == [2, 4, 4, 4])
        #expect(!folder.names.contains { $0.contains(".tmp-") })
    }

    @Test(
        "export and import of a dense model keep every byte, and the config's text",
        arguments: ["float32", "float16"])
    func roundTrip(type: String) throws {
        let folder = try TemporaryFolder()
        try folder.write("config.json", TinyModel.latentJSON)
        try succeed(folder.run("init", "--config", "config.json", "-o", "model.h5", "--dtype", type))
        try succeed(folder.run("export", "model.h5", "-o", "a"))
        try succeed(folder.run("import", "a", "-o", "again.h5"))
        try succeed(folder.run("export", "again.h5", "-o", "b"))
        let weights = "diffusion_pytorch_model.safetensors"
        #expect(try folder.data("a/\(weights)") == folder.data("b/\(weights)"))
        #expect(try folder.data("b/config.json") == Data(TinyModel.latentJSON.utf8))
        let reader = try SafetensorsReader(folder.file("b/\(weights)"))
        #expect(reader.stored("conv_in.weight")?.type?.rawValue == type)
    }

    @Test("a packed pipeline is exported with the missing parts of the model that its manifest names", .slow)
    func packedPipeline() throws {
        let folder = try TemporaryFolder()
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("PipelinesTests/Fixtures/pipelines/sd1").path
        try succeed(folder.run("import", source, "-o", "model.h5"))
        let reader = try CheckpointReader(folder.file("model.h5"))
        let inventory = try ModelInventory(layersOf: reader)
        try BitRecipe.uniform(BitWidth(3), over: inventory).write(to: folder.url("recipe.json"))
        try succeed(
            folder.run("quantize", "model.h5", "--recipe", "recipe.json", "--no-vae-encoder", "-o", "packed.h5"))
        let run = try folder.run("export", "packed.h5", "-o", "out")
        try succeed(run)
        #expect(run.output.hasPrefix("out: unet, vae, text_encoder: ") && !run.errors.contains("warning"))
        let index = try Data(contentsOf: URL(fileURLWithPath: source + "/model_index.json"))
        #expect(try folder.data("out/model_index.json") == index)

        // The same folder again, with the weights of the original for everything.
        let refused = try folder.run("export", "model.h5", "-o", "out")
        #expect(refused.status == 64 && refused.errors.contains("out: not empty (model_index.json); pass --overwrite"))
        let weights = "out/unet/diffusion_pytorch_model.safetensors"
        let packed = try folder.data(weights)
        let complete = try folder.run("export", "model.h5", "--original", "model.h5", "-o", "out", "--overwrite")
        try succeed(complete)
        #expect(complete.errors.contains("warning: model.h5: is complete; --original was ignored"))
        #expect(try folder.data(weights) != packed)
        try succeed(folder.run("import", "out", "-o", "again.h5"))
        let again = try CheckpointReader(folder.file("again.h5"))
        for key in reader.parameters.keys { #expect(try again.parameters.bytes(key) == reader.parameters.bytes(key)) }

        try FileManager.default.removeItem(atPath: folder.file("model.h5"))
        let missing = try folder.run("export", "packed.h5", "-o", "other")
        #expect(missing.status == 66 && missing.errorLines.count == 1)
        #expect(missing.errors.contains("packed.h5: time layers, VAE encoder: not in the file"), "\(missing.errors)")
        #expect(!folder.names.contains("other"))
        try succeed(folder.run("export", "packed.h5", "--component", "text_encoder", "-o", "text"))
        let text = try SafetensorsReader(folder.file("text/model.safetensors"))
        #expect(text.keys == again.textEncoder?.keys)
    }

    @Test("init depends on the seed only, with norms of 1, biases of 0 and the deviation of the fan-in")
    func randomModel() throws {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        try succeed(folder.run("init", "--config", "config.json", "--seed", "7", "-o", "again.h5"))
        try succeed(folder.run("init", "--config", "config.json", "--seed", "8", "-o", "other.h5"))
        let models = try ["model", "again", "other"].map { try CheckpointReader(folder.file("\($0).h5")).parameters }
        let key = "down_blocks.0.resnets.0.conv1.weight"
        let weights = try models.map { try $0.tensor(key).values }
        #expect(weights[0] == weights[1])
        #expect(weights[0] != weights[2])
        let variance = weights[0].reduce(0) { $0 + $1 * $1 } / Float(weights[0].count)
        #expect(abs(variance * 72 - 1) < 0.25)  // fan-in 8 · 3 · 3; 576 values
        #expect(try models[0].tensor("conv_norm_out.weight").values.allSatisfy { $0 == 1 })
        #expect(try models[0].tensor("conv_norm_out.bias").values.allSatisfy { $0 == 0 })
    }

    @Test("the published recipe has 1.9885 average bits for the config of Stable Diffusion 1.5")
    func publishedRecipe() throws {
        let configs = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Configs").path
        let run = try TemporaryFolder().run(
            "info", "\(configs)/unet-sd15.json", "--recipe", "\(configs)/recipes/sd15-bitsfusion-1.99.json",
            "--json")
        let info = try object(run.output)
        #expect(info["parameters"] as? Int == 859_520_964)
        #expect(info["weights"] as? Int == 859_077_120)
        #expect((info["layers"] as? [Any])?.count == 282)
        let size = try #require(info["quantized"] as? [String: Any])
        let average = try #require(size["averageBits"] as? Double)
        #expect(abs(average - 1.9885) < 5e-5)
        let parts = try #require(size["parts"] as? [[String: Any]])
        let bytes = parts.compactMap { $0["bytes"] as? Int }.reduce(0, +)
        #expect(bytes == size["storedBytes"] as? Int)
        #expect(abs(parts.compactMap { $0["averageBits"] as? Double }.reduce(0, +) - average) < 1e-9)
    }

    @Test("allocate reads sensitivity.json and writes recipe.json with the name of the model")
    func allocate() throws {
        let folder = try TemporaryFolder()
        let inventory = try UNet2DConditionConfig(json: Data(TinyModel.latentJSON.utf8)).inventory()
        let layers = inventory.quantizedLayers.enumerated().map { index, layer in
            LayerSensitivity(
                path: layer.path, kind: layer.kind, weights: layer.weights, skewness: 0,
                bits: Dictionary(
                    uniqueKeysWithValues: (1...3).map {
                        let mse = Double(index + 1) / Double($0 * $0)
                        return (BitWidth($0), SensitivityScores(mse: mse))
                    }))
        }
        let table = SensitivityTable(
            layers: layers, model: FileReference(path: "model.h5", sha256: "00"), inventory: inventory)
        try table.write(to: folder.url("sensitivity.json"))
        try succeed(folder.run("allocate", "--avg-bits", "5.5", "--cached-steps", "0"))
        let recipe = try BitRecipe.load(contentsOf: folder.url("recipe.json"))
        #expect(recipe.model?.path == "model.h5")
        #expect(recipe.cachedSteps == 0)
        #expect(recipe.manifest?.inputs.map(\.path) == ["sensitivity.json"])
        #expect(try #require(recipe.averageBits) <= 5.5)
        try recipe.validate(against: inventory)
    }

    private func succeed(_ run: ProgramRun) throws {
        try #require(run.status == 0, "\(run.errors)")
    }

    private func object(_ json: String) throws -> [String: Any] {
        try #require(JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
    }

    private func prediction(_ folder: TemporaryFolder, _ name: String) throws -> [Float] {
        try SafetensorsReader(folder.file("\(name).safetensors")).tensor("noise_pred").values
    }

    private func largest(_ values: [Float]) -> Float { values.map(abs).max() ?? 0 }

    private func distance(_ a: [Float], _ b: [Float]) -> Float {
        zip(a, b).map { abs($0 - $1) }.max() ?? .infinity
    }
}
