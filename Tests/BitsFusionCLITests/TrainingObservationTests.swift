// SPDX-License-Identifier: Apache-2.0
// What `distill` and `train` report of a run: validation, previews, metrics and forecasts, by the built program.

import BitsFusion
import Foundation
import TestKit
import Testing

@testable import BitsFusionCLI

@Suite("Observing training")
struct TrainingObservationTests {
    private func succeed(_ run: ProgramRun) throws { try #require(run.status == 0, "\(run.errors)") }

    private static let observed = [
        "--logging-dir", "log", "--validate-every", "2", "--validation-size", "3", "--preview-every", "2",
        "--preview-steps", "2",
    ]

    /// Settings of few and small steps.
    private func settings() throws -> String {
        var options = DistillationOptions.shapes
        for stage in DistillationStage.allCases {
            options[stage].training.steps = 5
            options[stage].training.batchSize = 2
            options[stage].training.saveEvery = 1
            options[stage].training.schedule = LearningRateSchedule(warmupSteps: 0, decay: .constant, finalFactor: 1)
        }
        return try YAMLDocument.text(options)
    }

    /// model.h5 of random latents without text encoder and VAE, recipe.json, set.h5, e.safetensors and d.yaml.
    private func folder() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        try folder.makeEmbeddings()
        try writeSet(folder, count: 8, size: 4, tokens: 3, width: 6)
        try folder.write("d.yaml", settings())
        return folder
    }

    private func writeSet(_ folder: TemporaryFolder, count: Int, size: Int, tokens: Int, width: Int) throws {
        var random = Philox(seed: 4)
        try writeDataSets(
            [
                "latents": random.normal([count, 4, size, size]),
                "encoder_hidden_states": random.normal([count, tokens, width]),
                "empty_hidden_states": random.normal([1, tokens, width]),
            ], to: folder.file("set.h5"))
    }

    private func distill(_ options: [String], stage: Int = 1) -> [String] {
        let source = stage == 1 ? ["--model", "model.h5"] : []
        return ["distill", "--stage", "\(stage)"] + source + ["--data", "set.h5", "--config", "d.yaml", "--quiet"]
            + options
    }

    private func metrics(_ folder: TemporaryFolder, _ name: String = "log") throws -> [[String: Any]] {
        let lines = String(decoding: try folder.data("\(name)/metrics.jsonl"), as: UTF8.self).split(separator: "\n")
        return try lines.map { try #require(JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]) }
    }

    /// All tensors of the students in both folders are equal.
    private func expectEqual(_ a: TemporaryFolder, _ b: TemporaryFolder, _ name: String = "stage1.h5") throws {
        let (first, second) = try (
            DiffusionPipeline(contentsOf: a.file(name)), DiffusionPipeline(contentsOf: b.file(name))
        )
        #expect(first.denoiser.store.bits == second.denoiser.store.bits)
    }

    @Test("latents without a VAE: metrics, previews in false colors, and the same student as unobserved", .slow)
    func latents() throws {
        let (observed, plain) = (try folder(), try folder())
        let run = try observed.run(
            distill(Self.observed + ["--preview-embeddings", "e.safetensors"]))
        try succeed(run)
        #expect(run.output.contains(", validation loss "))
        try succeed(plain.run(distill(["--validation-size", "3"])))
        try expectEqual(observed, plain)

        let lines = try metrics(observed)
        #expect(lines.map { $0["step"] as? Int } == [0, 1, 2, 3, 4, 5])
        #expect(lines.filter { $0["validation/loss"] is Double }.map { $0["step"] as? Int } == [0, 2, 4, 5])
        let validated = ["validation/loss", "validation/loss/feature", "validation/loss/noise"]
        #expect(lines[0].keys.sorted() == ["step"] + validated)
        for line in lines.dropFirst() {
            for key in [
                "loss", "loss/noise", "loss/feature", "gradientNorm", "learningRate", "samplesPerSecond",
                "memory/peakBytes", "quantization/changedCodes", "quantization/scaleDrift",
            ] { #expect(line[key] is Double, "\(key)") }
        }
        #if os(Linux)
            #expect(lines.dropFirst().allSatisfy { ($0["memory/residentBytes"] as? Double ?? 0) > 1e6 })
        #endif
        let names = try FileManager.default.contentsOfDirectory(atPath: observed.file("log")).sorted()
        #expect(
            names.filter { $0.hasSuffix(".png") }
                == [0, 2, 4, 5].map { String(format: "preview-%06d.png", $0) })
        #expect(!names.contains { $0.contains(".tmp-") })
        let image = try ImageFile.read(observed.file("log/preview-000002.png"))
        #expect(image.width > 2 * 160 && image.height > 160)
        // TensorBoard's image is the file, byte by byte.
        let events = try #require(names.first { $0.hasPrefix("events.out.tfevents.") })
        let png = try observed.data("log/preview-000005.png")
        #expect(try observed.data("log/\(events)").range(of: png) != nil)
    }

    @Test(
        "TensorBoard reads losses of training and validation, and the previews",
        .slow, .enabled(if: Python.has("tensorboard"), "Python with tensorboard is not installed"))
    func tensorBoard() throws {
        let folder = try folder()
        try succeed(folder.run(distill(Self.observed + ["--preview-embeddings", "e.safetensors"])))
        let program = """
            import sys
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
            log = EventAccumulator(sys.argv[1])
            log.Reload()
            tags = log.Tags()
            print(tags["images"], [e.step for e in log.Scalars("validation/loss")], len(log.Scalars("loss")))
            for image in log.Images("preview"):
                name = "%s/preview-%06d.png" % (sys.argv[1], image.step)
                print(image.step, image.encoded_image_string == open(name, "rb").read(), image.width > image.height > 0)
            """
        #expect(
            try Python.run(program, folder.file("log")) == """
                ['preview'] [0, 2, 4, 5] 5
                0 True True
                2 True True
                4 True True
                5 True True

                """)
    }

    @Test("a run with validation and previews that is killed again and again ends with the same file", .slow)
    func killed() throws {
        let (whole, killed) = (try folder(), try folder())
        let arguments = distill(Self.observed + ["--preview-embeddings", "e.safetensors"])
        let start = Date()
        try succeed(whole.run(arguments))
        let seconds = Date().timeIntervalSince(start)
        var kills = 0
        for attempt in 0..<8 {
            let run = try killed.run(
                arguments + ["--resume"], killedAfter: Double.random(in: 0...(seconds * 0.4)),
                by: attempt % 2 == 0 ? SIGKILL : SIGTERM)
            if run.status == SIGKILL || run.status == 130 || run.status == SIGTERM { kills += 1 }
        }
        // A run that is done early is not killed any more.
        #expect(kills > 0)
        try succeed(killed.run(arguments + ["--resume"]))
        #expect(try killed.data("stage1.h5") == whole.data("stage1.h5"))
        let (found, expected) = (try metrics(killed), try metrics(whole))
        #expect(found.map { $0["step"] as? Int } == expected.map { $0["step"] as? Int })
        #expect(found.map { $0["loss"] as? Double } == expected.map { $0["loss"] as? Double })
        for name in ["preview-000002.png", "preview-000004.png", "preview-000005.png"] {
            // An interrupted step has no preview.
            guard let data = try? killed.data("log/\(name)") else { continue }
            #expect(try data == whole.data("log/\(name)"))
        }
    }

    @Test("--batch-size and --learning-rate replace the settings, and cannot change in a resumed run", .slow)
    func overrides() throws {
        let folder = try folder()
        let printed = try folder.run(
            "distill", "--stage", "1", "--config", "d.yaml", "--print-config", "--batch-size", "3", "--learning-rate",
            "0.25")
        try succeed(printed)
        let settings = try YAMLDocument.read(
            DistillationOptions.self, from: folder.write("printed.yaml", printed.output))
        #expect(settings.stage1.training.batchSize == 3 && settings.stage1.training.learningRate == 0.25)
        #expect(settings.stage1.scaleLearningRate == DistillationOptions.shapes.stage1.scaleLearningRate)
        #expect(settings.stage2.training.batchSize == 2)
        try succeed(folder.run(distill(["--steps", "1"])))
        let other = try folder.run(
            distill(["--steps", "2", "--resume", "--batch-size", "3", "--learning-rate", "0.25"]))
        #expect(other.status == 65 && other.errorLines.count == 1)
        for text in ["options.training.batchSize 2, not 3", "options.training.learningRate 0.0005", "not 0.25"] {
            #expect(other.errors.contains(text), "\(other.errors)")
        }
        let heldOut = try folder.run(distill(["--steps", "2", "--resume", "--validation-size", "2"]))
        #expect(heldOut.status == 65 && heldOut.errors.contains("validationSize none, not 2"), "\(heldOut.errors)")
    }

    @Test("the number of steps between validations may change in a resumed run", .slow)
    func otherInterval() throws {
        let folder = try folder()
        try succeed(folder.run(distill(["--steps", "1", "--validate-every", "1"])))
        try succeed(folder.run(distill(["--steps", "2", "--validate-every", "5", "--resume"])))
        let refused = try folder.run(distill(["--steps", "3", "--resume"]))
        #expect(refused.status == 65 && refused.errors.contains("validationSize 1, not none"), "\(refused.errors)")
    }

    @Test("--dry-run measures both stages and writes nothing", .slow)
    func dryRun() throws {
        let folder = try folder()
        let options = Self.observed + ["--preview-embeddings", "e.safetensors"]
        let names = folder.names
        let run = try folder.run(distill(options + ["--dry-run", "--steps", "40", "--batch-size", "6"]))
        try succeed(run)
        #expect(folder.names == names && run.errors.isEmpty)
        let lines = run.output.split(separator: "\n")
        let labels = [
            "time per step", "images per second", "preparation", "training", "validation", "previews", "total",
            "peak memory", "  student", "  gradients", "  moments", "  teacher", "student file", "packed file",
            "no file was written",
        ]
        #expect(lines.count == labels.count, "\(run.output)")
        for (line, label) in zip(lines, labels) { #expect(line.hasPrefix(label)) }
        #expect(lines[0].contains("3 micro-batches of 6") && lines[3].contains("40 steps"))
        #expect(lines[4].contains("21 times") && lines[5].contains("21 times"))
        try succeed(folder.run(distill(["--steps", "1"])))
        let before = folder.names
        let second = try folder.run(distill(["--dry-run"], stage: 2))
        try succeed(second)
        #expect(folder.names == before)
        #expect(!second.output.contains("  teacher") && second.output.contains("  moving average"))
        let refused = try folder.run(distill(["--dry-run", "--resume"]))
        #expect(refused.status == 64)
    }

    @Test("a pipeline with text encoder and VAE: prompts are encoded, and images decoded", .slow)
    func pipeline() throws {
        let folder = try TemporaryFolder()
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("PipelinesTests/Fixtures/pipelines/sd1").path
        try succeed(folder.run("import", source, "-o", "model.h5"))
        let reader = try CheckpointReader(folder.file("model.h5"))
        let inventory = try ModelInventory(layersOf: reader)
        try BitRecipe.uniform(BitWidth(3), over: inventory).write(to: folder.url("recipe.json"))
        try writeSet(folder, count: 8, size: 8, tokens: 7, width: 32)
        try folder.write("d.yaml", settings())
        try folder.write("prompts.txt", "a cat\n\na photo of a dog\n")
        let missing = try folder.run(distill(Self.observed))
        #expect(missing.status == 64 && missing.errorLines.count == 1)
        #expect(missing.errors.contains("model.h5: --preview-prompts: missing, but required"), "\(missing.errors)")
        try succeed(folder.run(distill(Self.observed + ["--preview-prompts", "prompts.txt", "--steps", "2"])))
        let image = try ImageFile.read(folder.file("log/preview-000002.png"))
        // Two images of each prompt, enlarged to about 160 pixels, beside the text.
        #expect(image.width > 200 && image.height > 200)
        let dry = try folder.run(
            distill(Self.observed + ["--preview-prompts", "prompts.txt", "--dry-run"]))
        try succeed(dry)
        #expect(dry.output.contains("previews"))
    }

    @Test("the included model: bundled prompts, generated validation data, and `train`", .slow)
    func included() throws {
        let folder = try TemporaryFolder()
        let configs = ConfigFileTests.path("")
        let inventory = try UNet2DConditionConfig(json: AtomicFile.read(configs + "/unet-shapes.json")).inventory()
        try BitRecipe.uniform(BitWidth(3), over: inventory).write(to: folder.url("recipe.json"))
        let run = try folder.run(
            ["distill", "--stage", "1", "--model", "shapes", "--steps", "1", "--batch-size", "2", "--quiet"]
                + Self.observed)
        try succeed(run)
        #expect(try metrics(folder).map { $0["validation/loss"] is Double } == [true, true])
        #expect(try ImageFile.read(folder.file("log/preview-000001.png")).height > 6 * 160)
        let ignored = try folder.run("distill", "--stage", "1", "--model", "shapes", "--validation-size", "3")
        #expect(ignored.status == 64 && ignored.errors.contains("no effect on training data that are generated"))
        let train = ["--config", configs + "/shapes.yaml", "--steps", "1", "--batch-size", "2", "-o", "t.h5"]
        try succeed(folder.run(["train"] + train + Self.observed + ["--learning-rate", "0.001", "--quiet"]))
        let lines = try metrics(folder)
        #expect(lines.map { $0["validation/loss"] is Double } == [true, true])
        #expect(lines[1]["quantization/changedCodes"] == nil)
        let proxy = try folder.run(
            "train", "--config", configs + "/clip-proxy.yaml", "-o", "c.h5", "--validate-every", "3")
        #expect(proxy.status == 64 && proxy.errors.contains("not for a CLIP-proxy"), "\(proxy.errors)")
    }

    @Test("things are due before the first step, every few steps, and after the last one")
    func interval() {
        let interval = StepInterval(every: 4)
        for steps in 1...9 {
            let due = (0...steps).filter { interval.isDue($0, of: steps) }
            #expect(due.first == 0 && due.last == steps && due.count == interval.count(in: steps))
        }
    }
}
