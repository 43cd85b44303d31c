// SPDX-License-Identifier: Apache-2.0
// The method on images: `dataset`, and the commands that train, analyze and score with its sets, on the tiny pipelines
// of the library's tests and on image files of every kind.

import BitsFusion
import Foundation
import TestKit
import Testing

@Suite("The method on images")
struct ImageDataSetTests {
    private static let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    private static let fixtures = tests.appendingPathComponent("PipelinesTests/Fixtures").path

    /// An image file of Tests/Fixtures/make_image_fixtures.py.
    private struct ImageFixture: Decodable {
        let name: String
        /// Base64.
        let file: String
    }

    private func succeed(_ run: ProgramRun) throws { try #require(run.status == 0, "\(run.errors)") }

    /// model.h5 of a pipeline, and the folder `images` with `count` files of all kinds; three more are damaged.
    private func folder(_ kind: String = "sd1", count: Int = 12) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try succeed(folder.run("import", Self.fixtures + "/pipelines/" + kind, "-o", "model.h5", "-q"))
        let all = Self.tests.appendingPathComponent("ImagesTests/Fixtures/images.json")
        let images = try JSONDecoder().decode([ImageFixture].self, from: Data(contentsOf: all))
        var metadata = ""
        for index in 0..<count {
            let image = images[index % images.count]
            let name = "\(index) \(image.name.replacingOccurrences(of: "/", with: " "))"
            try folder.write("images/" + name, [UInt8](#require(Data(base64Encoded: image.file))))
            // Names without the extension of an image are listed by the metadata alone.
            let captions = index % 3 == 0 ? "[\"a cat\", \"a red cat\"]" : "\"image \(index) of a dog\""
            metadata += "{\"file_name\": \"\(name)\", \"text\": \(captions)}\n"
        }
        for (name, bytes) in [("cut.jpg", [UInt8](repeating: 0xFF, count: 30)), ("empty.png", []), ("text.webp", [65])]
        {
            try folder.write("images/" + name, bytes)
            metadata += "{\"file_name\": \"\(name)\", \"text\": \"damaged\"}\n"
        }
        try folder.write("images/metadata.jsonl", metadata)
        try folder.write("prompts.jsonl", "{\"prompt\": \"a cat\", \"category\": \"x\"}\n{\"prompt\": \"a dog\"}\n")
        return folder
    }

    private let training = ["--config", "paper", "--steps", "2", "--batch-size", "2", "-q"]

    @Test("two hundred image files of all kinds: data set, analysis, allocation, distillation, evaluation", .slow)
    func wholeMethod() throws {
        let folder = try folder(count: 200)
        try succeed(folder.run("import", Self.fixtures + "/clip", "-o", "clip.h5", "-q"))
        let made = try folder.run(
            "dataset", "images", "--model", "model.h5", "-o", "set.h5", "--aspect-buckets",
            "--bucket-step", "16", "-q")
        try succeed(made)
        #expect(made.output.contains("set.h5: 200 samples") && made.output.contains("3 skipped"), "\(made.output)")
        let skipped = try String(decoding: folder.data("set.skipped.tsv"), as: UTF8.self)
        #expect(
            skipped.split(separator: "\n").map { $0.prefix { $0 != "\t" } } == ["cut.jpg", "empty.png", "text.webp"])
        #expect(made.errors.contains("3 samples skipped, listed in set.skipped.tsv"))
        let info = try folder.run("info", "set.h5")
        try succeed(info)
        #expect(
            info.output.contains("samples        200") && info.output.contains("skipped        3"), "\(info.output)")
        try succeed(
            folder.run(
                "dataset", "--synthesize", "prompts.jsonl", "--model", "model.h5", "-o", "own.h5", "--steps", "4",
                "--trajectory-states", "2", "-q"))
        try succeed(
            folder.run(
                "analyze", "model.h5", "--prompts", "prompts.jsonl", "--clip", "clip.h5", "--steps", "2", "--layers",
                "to_v|^conv", "--bits", "1,2", "-q"))
        let bits = try folder.run("allocate", "--avg-bits", "1.9", "-q")
        #expect(bits.status == 65, "a part of the layers is not enough: \(bits.errors)")
        try succeed(folder.run("analyze", "model.h5", "--data", "set.h5", "--num-prompts", "2", "--overwrite", "-q"))
        try succeed(folder.run("allocate", "--avg-bits", "5", "-q"))
        for (stage, data) in [("1", "own.h5"), ("2", "set.h5")] {
            try succeed(folder.run(["distill", "--stage", stage, "--data", data] + training))
        }
        try succeed(folder.run("pack", "stage2.h5", "-o", "packed.h5", "-q"))
        let scores = try folder.run(
            "evaluate", "model.h5", "packed.h5", "--prompts", "prompts.jsonl", "--clip", "clip.h5", "--steps", "2", "-q"
        )
        try succeed(scores)
        #expect(scores.output.contains("packed.h5"))
    }

    @Test(
        "each kind of pipeline is analyzed, allocated and distilled from a set", .slow,
        arguments: [
            "sd2-v", "sdxl", "inpaint",
        ])
    func kinds(kind: String) throws {
        let folder = try folder(kind)
        try succeed(folder.run("dataset", "images", "--model", "model.h5", "-q"))
        try succeed(
            folder.run(
                "analyze", "model.h5", "--data", "set.h5", "--num-prompts", "2", "--timesteps", "2", "--measure",
                "noise,fisher", "-q"))
        try succeed(folder.run("allocate", "--avg-bits", "5", "--verify-top", "2", "-q"))
        for stage in ["1", "2"] {
            try succeed(folder.run(["distill", "--stage", stage, "--data", "set.h5"] + training))
        }
        try succeed(folder.run("pack", "stage2.h5", "-o", "packed.h5", "-q"))
        try succeed(folder.run("import", Self.fixtures + "/clip", "-o", "clip.h5", "-q"))
        let scores = try folder.run(
            "evaluate", "model.h5", "packed.h5", "--data", "set.h5", "--count", "3", "--clip", "clip.h5", "--steps",
            "2", "-q")
        try succeed(scores)
        #expect(scores.output.contains("packed.h5"))
    }

    @Test("sets that were killed ten times and continued have equal bytes", .slow)
    func killed() throws {
        let folder = try folder(count: 60)
        let images = ["dataset", "images", "--model", "model.h5", "-o", "set.h5", "-q"]
        let prompts = [
            "dataset", "--synthesize", "prompts.jsonl", "--model", "model.h5", "-o", "set.h5", "--steps", "20",
            "--count", "8", "--batch-size", "3", "-q",
        ]
        for arguments in [images, prompts] {
            let clock = ContinuousClock()
            let start = clock.now
            try succeed(folder.run(arguments))
            let seconds = (clock.now - start) / .seconds(1)
            let expected = try folder.data("set.h5")
            try FileManager.default.removeItem(atPath: folder.file("set.h5"))
            var kills = 0
            for attempt in 0..<10 {
                let share = 0.15 + 0.08 * Double(attempt)
                let run = try folder.run(arguments + ["--resume"], killedAfter: seconds * share)
                kills += run.status == 9 ? 1 : 0
            }
            #expect(kills > 2)
            try succeed(folder.run(arguments + ["--resume"]))
            #expect(try folder.data("set.h5") == expected)
            #expect(!folder.names.contains { $0.contains("part") || $0.contains("tmp") || $0.hasSuffix(".lock") })
            try FileManager.default.removeItem(atPath: folder.file("set.h5"))
        }
    }

    @Test("finished and interrupted sets are kept, and continued with the same settings only", .slow)
    func keepsSets() throws {
        let folder = try folder()
        let dataset = ["dataset", "images", "--model", "model.h5", "-o", "set.h5", "-q"]
        let limited = try folder.run(dataset + ["--skip-limit", "1"])
        #expect(limited.status == 65 && limited.errorLines.count == 1, "\(limited.errors)")
        #expect(limited.errors.contains("data set: more than 1 samples cannot be used, the last one empty.png"))
        let blocked = try folder.run(dataset)
        #expect(blocked.status == 64 && blocked.errors.contains("an interrupted run is in set.h5.part; pass --resume"))
        let other = try folder.run(dataset + ["--resume", "--seed", "4"])
        #expect(
            other.status == 64 && other.errors.contains("made with options.seed \"0\", not \"4\""), "\(other.errors)")
        try succeed(folder.run(dataset + ["--resume"]))
        let finished = try folder.run(dataset + ["--resume"])
        #expect(finished.status == 0 && finished.output == "set.h5: already finished\n")
        let again = try folder.run(dataset)
        #expect(again.status == 64 && again.errors.contains("set.h5: exists already; pass --overwrite"))
        try succeed(folder.run(dataset + ["--overwrite"]))
        // A model without VAE or without its encoder cannot encode images.
        try succeed(folder.run("import", Self.fixtures + "/pipelines/sd1/unet", "-o", "unet.h5", "-q"))
        let alone = try folder.run("dataset", "images", "--model", "unet.h5", "-o", "other.h5")
        #expect(alone.status == 65 && alone.errorLines.count == 1, "\(alone.errors)")
    }
}
