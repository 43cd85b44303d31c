// SPDX-License-Identifier: Apache-2.0
// `distill` and `analyze` as a user meets them: finished files are kept, runs continue, data sets are checked.

import BitsFusion
import Foundation
import TestKit
import Testing

@Suite("Training and analyzing on files")
struct TrainingTests {
    private func succeed(_ run: ProgramRun) throws { try #require(run.status == 0, "\(run.errors)") }

    /// Settings of few and small steps.
    private func settings(decay: String) -> String {
        let stage = """
              training: {steps: 2, batchSize: 2, learningRate: 0.001, weightDecay: 0, beta1: 0.9, beta2: 0.99, seed: 0,
                saveEvery: 100, schedule: {warmupSteps: 0, decay: \(decay), finalFactor: 0.1}}
              scaleLearningRate: 0.001
              textDropping: 0.1
              timesteps: {alpha: 3, beta: 1}
              featureWeight: 0.01
            """
        return "stage1:\n\(stage)\nstage2:\n\(stage)\n"
    }

    /// model.h5, recipe.json, the data set set.h5 of `channels`, d.yaml and cosine.yaml.
    private func folder(config: String = TinyModel.latentJSON, channels: Int = 4) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try folder.makeModel(config)
        var random = Philox(seed: 4)
        try writeDataSets(
            [
                "latents": random.normal([8, channels, 4, 4]), "encoder_hidden_states": random.normal([8, 3, 6]),
                "empty_hidden_states": random.normal([1, 3, 6]),
            ], to: folder.file("set.h5"))
        try folder.write("d.yaml", settings(decay: "constant"))
        try folder.write("cosine.yaml", settings(decay: "cosine"))
        return folder
    }

    private func distill(_ folder: TemporaryFolder, _ options: String...) throws -> ProgramRun {
        let arguments = [
            "distill", "--stage", "1", "--model", "model.h5", "--data", "set.h5", "--quiet",
        ]
        let config = options.contains("--config") ? [] : ["--config", "d.yaml"]
        return try folder.run(arguments + config + options)
    }

    @Test("a finished student is only replaced with --overwrite", .slow)
    func keepsStudents() throws {
        let folder = try folder()
        try succeed(distill(folder))
        let first = try folder.data("stage1.h5")
        let again = try distill(folder, "--seed", "3")
        #expect(again.status == 64 && again.errorLines.count == 1)
        #expect(again.errors.contains("stage1.h5: is a finished run of 2 steps; pass --overwrite"), "\(again.errors)")
        #expect(try folder.data("stage1.h5") == first)
        try succeed(distill(folder, "--seed", "3", "--overwrite"))
        #expect(try folder.data("stage1.h5") != first)
        try folder.write("notes.txt", "mine")
        let foreign = try distill(folder, "-o", "notes.txt")
        #expect(foreign.status == 64 && foreign.errors.contains("notes.txt: exists already; pass --overwrite"))
        #expect(try folder.data("notes.txt") == Data("mine".utf8))
    }

    @Test("--resume with more --steps continues a finished student to the file of one longer run", .slow)
    func continues() throws {
        let (short, straight) = (try folder(), try folder())
        try succeed(distill(short))
        let finished = try distill(short, "--resume")
        #expect(finished.status == 0 && finished.output == "stage1.h5: already finished\n")
        try succeed(distill(short, "--steps", "4", "--resume"))
        try succeed(distill(straight, "--steps", "4"))
        #expect(try short.data("stage1.h5") == straight.data("stage1.h5"))
        try succeed(distill(short, "--config", "cosine.yaml", "-o", "cosine.h5"))
        let refused = try distill(short, "--config", "cosine.yaml", "-o", "cosine.h5", "--resume", "--steps", "4")
        #expect(refused.status == 65 && refused.errorLines.count == 1)
        #expect(refused.errors.contains("schedule.decay: with cosine, the learning rates of the 2 steps"))
    }

    @Test("stage 1 continues from a student with other bits, stage 2 trains a full-precision model", .slow)
    func starts() throws {
        let folder = try folder()
        let inventory = try UNet2DConditionConfig(json: Data(TinyModel.latentJSON.utf8)).inventory()
        try BitRecipe.uniform(BitWidth(5), over: inventory).write(to: folder.url("wide.json"))
        try succeed(distill(folder, "--recipe", "wide.json", "-o", "wide.h5"))
        try succeed(distill(folder, "--student", "wide.h5", "-o", "narrow.h5"))
        try succeed(distill(folder, "-o", "direct.h5"))
        #expect(try folder.data("narrow.h5") != folder.data("direct.h5"))
        try succeed(distill(folder, "--grid", "lsq", "--init", "min-max", "-o", "lsq.h5"))
        let lsq = try DiffusionPipeline(contentsOf: folder.file("lsq.h5"))
        let weights = lsq.denoiser.quantizedLayers.compactMap { $0.weight as? FakeQuantizedWeight }
        #expect(weights.contains { $0.grid == QuantizationGrid(lsq: BitWidth(3)) && $0.codes.min() == -4 })
        #expect(weights.allSatisfy { !$0.grid.isBalanced && ($0.codes.max() ?? 0) <= $0.grid.maximumCode })
        let packing = try folder.run("pack", "lsq.h5", "-o", "lsq-packed.h5")
        #expect(packing.status == 65 && packing.errors.contains("LSQ's grid of "), "\(packing.errors)")
        #expect(!folder.names.contains { $0.hasPrefix("lsq-packed") })
        let resumed = try distill(folder, "--init", "min-max", "-o", "lsq.h5", "--resume", "--steps", "4")
        #expect(resumed.status == 65 && resumed.errors.contains("levels"), "\(resumed.errors)")
        let forecast = try folder.run(
            "distill", "--stage", "2", "--model", "model.h5", "--data", "set.h5", "--config", "d.yaml", "--dry-run")
        try succeed(forecast)
        #expect(forecast.output.contains("model file") && !forecast.output.contains("packed file"))
        let model = try folder.run(
            "distill", "--stage", "2", "--model", "model.h5", "--data", "set.h5", "--config", "d.yaml", "-o",
            "tuned.h5", "--quiet")
        try succeed(model)
        let tuned = try DiffusionPipeline(contentsOf: folder.file("tuned.h5"))
        #expect(tuned.recipe == nil)
        let quantized = try folder.run("distill", "--stage", "2", "--model", "direct.h5", "--data", "set.h5", "-o", "x")
        #expect(quantized.status == 65 && quantized.errors.contains("direct.h5: already quantized"))
    }

    @Test("students keep dead zones through training, saving and stage 2, and packed codes are theirs", .slow)
    func deadZones() throws {
        let folder = try folder()
        let inventory = try UNet2DConditionConfig(json: Data(TinyModel.latentJSON.utf8)).inventory()
        var recipe = BitRecipe.uniform(BitWidth(1), over: inventory)
        for layer in inventory.quantizedLayers where layer.role == .searched { recipe.deadZones[layer.path] = 0.7 }
        try recipe.write(to: folder.url("sparse.json"))
        try succeed(distill(folder, "--recipe", "sparse.json", "-o", "sparse.h5"))
        let student = try DiffusionPipeline(contentsOf: folder.file("sparse.h5"))
        #expect(student.recipe?.deadZones == recipe.deadZones)
        try succeed(folder.run("pack", "sparse.h5", "-o", "packed.h5", "--sampler", "ddim", "--cached-steps", "5"))
        let packed = try DiffusionPipeline(contentsOf: folder.file("packed.h5"))
        for (trained, coded) in zip(student.denoiser.quantizedLayers, packed.denoiser.quantizedLayers) {
            #expect(trained.quantizedWeight?.codes == coded.quantizedWeight?.codes, "\(trained.path)")
        }
        // The same recipe without dead zones is another run.
        recipe.deadZones = [:]
        try recipe.write(to: folder.url("sparse.json"))
        let resumed = try distill(folder, "--recipe", "sparse.json", "-o", "sparse.h5", "--resume", "--steps", "4")
        #expect(resumed.status == 65 && resumed.errors.contains("deadZones"), "\(resumed.errors)")
    }

    @Test("--resume with other settings names these only", .slow)
    func otherSettings() throws {
        let folder = try folder()
        try succeed(distill(folder))
        let run = try distill(folder, "--resume", "--steps", "4", "--seed", "9")
        #expect(run.status == 65)
        #expect(
            run.errors == """
                bitsfusion distill: training state: the run was started with options.training.seed 0, not 9; resume \
                with the same settings, or start again with --overwrite

                """)
    }

    @Test("models with condition channels are distilled with all channels of their input", .slow)
    func conditionChannels() throws {
        let config = TinyModel.latentJSON.replacing("\"in_channels\": 4", with: "\"in_channels\": 9")
        let folder = try folder(config: config, channels: 9)
        try succeed(distill(folder))
        let second = try folder.run(
            "distill", "--stage", "2", "--data", "set.h5", "--config", "d.yaml", "--quiet")
        try succeed(second)
        try folder.makeEmbeddings()
        let analysis = try folder.run("analyze", "model.h5", "--embeddings", "e.safetensors")
        #expect(analysis.status == 65 && analysis.errorLines.count == 1)
        #expect(analysis.errors.contains("model.h5: model: in_channels 9, out_channels 4"), "\(analysis.errors)")
        #expect(!folder.names.contains { $0.hasPrefix("sensitivity") })
    }

    @Test("latents that were not scaled or have another size are warned about, and damaged sets refused", .slow)
    func dataSets() throws {
        let folder = try folder()
        var random = Philox(seed: 4)
        var tensors = [
            "latents": random.normal([8, 4, 4, 8]) * 5.5, "encoder_hidden_states": random.normal([8, 3, 6]),
            "empty_hidden_states": random.normal([1, 3, 6]),
        ]
        try writeDataSets(tensors, to: folder.file("set.h5"))
        let unscaled = try distill(folder)
        #expect(unscaled.status == 0 && unscaled.errorLines.count == 2)
        let prefix = "bitsfusion: warning: set.h5: data set latents: "
        #expect(unscaled.errorLines.allSatisfy { $0.hasPrefix(prefix) }, "\(unscaled.errors)")
        #expect(unscaled.errors.contains("standard deviation 5") && unscaled.errors.contains("4 x 8"))
        tensors["empty_hidden_states"] = nil
        try writeDataSets(tensors, to: folder.file("set.h5"))
        let missing = try distill(folder, "--overwrite")
        #expect(missing.status == 65 && missing.errorLines.count == 1)
        #expect(missing.errors.contains("set.h5: data set empty_hidden_states: missing; add "), "\(missing.errors)")
    }

    @Test("a finished table is only replaced with --overwrite, and shown again with --resume", .slow)
    func keepsTables() throws {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        try folder.makeEmbeddings()
        let analyze = [
            "analyze", "model.h5", "--embeddings", "e.safetensors", "--steps", "2", "--bits", "2", "--layers", "to_v",
            "--measure", "images", "--quiet",
        ]
        try succeed(folder.run(analyze))
        let first = try folder.data("sensitivity.json")
        let again = try folder.run(analyze)
        #expect(again.status == 64 && again.errorLines.count == 1)
        #expect(again.errors.contains("sensitivity.json: exists already; pass --overwrite"), "\(again.errors)")
        try succeed(folder.run(analyze + ["--dry-run"]))
        let shown = try folder.run(analyze + ["--resume"])
        #expect(shown.status == 0 && shown.errors.contains("already finished"))
        let other = try folder.run(analyze + ["--resume", "--seed", "1"])
        #expect(other.status == 64 && other.errors.contains("is of another analysis"), "\(other.errors)")
        #expect(try folder.data("sensitivity.json") == first)
        try succeed(folder.run(analyze + ["--overwrite", "--seed", "1"]))
        #expect(try folder.data("sensitivity.json") != first)
    }

    @Test("an export takes no time layers of another model", .slow)
    func otherTimeLayers() throws {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        try succeed(folder.run("init", "--config", "config.json", "--seed", "8", "-o", "other.h5"))
        try succeed(
            folder.run("quantize", "model.h5", "--recipe", "recipe.json", "-o", "packed.h5", "--quiet"))
        let run = try folder.run("export", "packed.h5", "--original", "other.h5", "-o", "unet")
        #expect(run.status == 65 && run.errorLines.count == 1)
        #expect(run.errors.contains("other.h5: time layers: other features than those cached in packed.h5"))
        #expect(!folder.names.contains("unet"))
        try succeed(folder.run("export", "packed.h5", "--original", "model.h5", "-o", "unet"))
    }
}
