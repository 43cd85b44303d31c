// SPDX-License-Identifier: Apache-2.0
// Prompt files, and the commands that use a CLIP model, with the tiny pipelines of the library's tests.

import BitsFusion
import Foundation
import TestKit
import Testing

@testable import BitsFusionCLI

@Suite("Prompt files")
struct PromptFileTests {
    private func records(_ name: String, _ text: String) throws -> [PromptRecord] {
        let folder = try TemporaryFolder()
        return try PromptFile.records(at: folder.write(name, text))
    }

    @Test("a text file has a prompt in each line that is not blank")
    func text() throws {
        let found = try records("a.txt", "  a cat \r\n\n\t\na dog, \"two\"\tdogs\n")
        #expect(found == [PromptRecord(text: "a cat"), PromptRecord(text: "a dog, \"two\"\tdogs")])
    }

    @Test("a line of JSON has its prompt under prompt, text or caption, and its category")
    func jsonLines() throws {
        let found = try records(
            "a.jsonl",
            """
            {"prompt": "a cat", "text": "other", "category": "Animals"}
            {"id": 3, "caption": "a \\"dog\\"", "category": null}

            {"text": "sky"}
            """)
        #expect(
            found == [
                PromptRecord(text: "a cat", category: "Animals"), PromptRecord(text: "a \"dog\""),
                PromptRecord(text: "sky"),
            ])
    }

    @Test("a table has its prompts and categories in columns of any order")
    func table() throws {
        let found = try records(
            "PartiPrompts.TSV",
            "Note\tPrompt\tCategory\tChallenge\n\ta \"red\" cat\tAnimals\tBasic\nx\tsky\t\tBasic\n\tsea\n")
        #expect(
            found == [
                PromptRecord(text: "a \"red\" cat", category: "Animals"), PromptRecord(text: "sky"),
                PromptRecord(text: "sea"),
            ])
    }

    @Test(
        "files without prompts are errors that name the line",
        arguments: [
            ("a.jsonl", "{\"prompt\": \"a\"}\n[1]\n", "line 2: expected a JSON object"),
            ("a.jsonl", "\n{\"prompt\": 3}\n", "line 2: no prompt: expected text under one of prompt, text, caption"),
            ("a.tsv", "Name\tCategory\na\tb\n", "line 1: no column Prompt"),
            ("a.tsv", "Prompt\tCategory\n\tAnimals\n", "line 2: no prompt"),
            ("a.tsv", "Prompt\tCategory\n\n", "no prompts"),
            ("a.txt", " \n", "no prompts"),
        ])
    func faults(name: String, text: String, message: String) {
        let error = #expect(throws: CommandError.self) { try records(name, text) }
        #expect(
            error?.category == .badData && error?.description.contains(message) == true, "\(String(describing: error))")
    }
}

@Suite("Evaluation with a CLIP model")
struct PromptEvaluationTests {
    private static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("PipelinesTests/Fixtures").path

    private func succeed(_ run: ProgramRun) throws { try #require(run.status == 0, "\(run.errors)") }

    /// A folder with clip.h5, sd.h5 and prompts.tsv.
    private func folder() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try succeed(folder.run("import", Self.fixtures + "/clip", "-o", "clip.h5", "-q"))
        try succeed(folder.run("import", Self.fixtures + "/pipelines/sd1", "-o", "sd.h5", "-q"))
        try folder.write(
            "prompts.tsv",
            "Prompt\tCategory\na red horse\tAnimals\nan orange cat\tAnimals\nblue clouds\tSky\nthe old ship\tSea\n")
        return folder
    }

    private func object(_ json: Data) throws -> [String: Any] {
        try #require(JSONSerialization.jsonObject(with: json) as? [String: Any])
    }

    private func doubles(_ value: Any?) throws -> [Double] { try #require(value as? [Double]) }

    @Test("models are scored by CLIP and compared with the first one", .slow)
    func evaluate() throws {
        let folder = try folder()
        try succeed(folder.run("import", Self.fixtures + "/pipelines/sd1", "-o", "same.h5", "-q"))
        try succeed(
            folder.run("import", Self.fixtures + "/pipelines/sd1", "--dtype", "bfloat16", "-o", "rounded.h5", "-q"))
        let run = try folder.run(
            "evaluate", "sd.h5", "same.h5", "rounded.h5", "--clip", "clip.h5", "--prompts", "prompts.tsv", "--steps",
            "4",
            "--json", "-o", "scores.json", "--grid", "grid.png", "--columns", "2")
        try succeed(run)
        #expect(run.errors.isEmpty, "\(run.errors)")
        let table = try object(folder.data("scores.json"))
        #expect(table["prompts"] as? [String] == ["a red horse", "an orange cat", "blue clouds", "the old ship"])
        let rows = try #require(table["rows"] as? [[String: Any]])
        try #require(rows.count == 3)
        for row in rows {
            let scores = try doubles(row["imageScores"])
            try #require(scores.count == 4)
            let mean = scores.reduce(0, +) / 4
            expectClose([try #require(row["clipScore"] as? Double)], [max(mean, 0)], within: 1e-9)
            let categories = try #require(row["categories"] as? [[String: Any]])
            #expect(categories.map { $0["name"] as? String } == ["Animals", "Sky", "Sea"])
            let animals = try #require(categories[0]["clipScore"] as? [String: Any])
            expectClose([try #require(animals["mean"] as? Double)], [(scores[0] + scores[1]) / 2], within: 1e-9)
        }
        #expect(rows[0]["difference"] == nil && rows[0]["frechetDistance"] == nil && rows[0]["psnr"] == nil)

        // The same file again: nothing differs.
        let same = try #require(rows[1]["difference"] as? [String: Any])
        #expect(same["pValue"] as? Double == 1 && same["interval"] as? [Double] == [0, 0])
        #expect(rows[1]["meanSquaredError"] as? Double == 0 && rows[1]["psnr"] == nil)
        expectClose([try #require(rows[1]["ssim"] as? Double)], [1], within: 1e-12)
        #expect(abs(try #require(rows[1]["cmmd"] as? Double)) < 1e-9)

        // Rounded weights: nearly the same images.
        let psnr = try #require(rows[2]["psnr"] as? Double), ssim = try #require(rows[2]["ssim"] as? Double)
        #expect(psnr > 20 && psnr < 80 && ssim > 0.7 && ssim < 1)
        #expect(try #require(rows[2]["cmmd"] as? Double) > 0)
        let first = try doubles(rows[0]["imageScores"]), rounded = try doubles(rows[2]["imageScores"])
        let expected = MeanEstimate(of: rounded, minus: first)
        let difference = try #require(rows[2]["difference"] as? [String: Any])
        let estimate = try #require(difference["clipScore"] as? [String: Any])
        expectClose([try #require(estimate["mean"] as? Double)], [expected.mean], within: 1e-9)
        let pValues = try [same, difference].map { try #require($0["pValue"] as? Double) }
        let adjusted = try [same, difference].map { try #require($0["adjustedPValue"] as? Double) }
        expectClose(adjusted, holmAdjusted(pValues), within: 1e-12)

        let grid = try ImageFile.read(folder.file("grid.png"))
        #expect(grid.height > 3 * 64 && grid.width > 2 * 64)
    }

    @Test("scores are those of the images that `sample` writes with the same seeds", .slow)
    func sampledImages() throws {
        let folder = try folder()
        try folder.write("two.txt", "a red horse\nblue clouds\n")
        let run = try folder.run(
            "evaluate", "sd.h5", "--clip", "clip.h5", "--prompts", "two.txt", "--steps", "3", "--seed", "5", "--json")
        try succeed(run)
        let rows = try #require(object(Data(run.output.utf8))["rows"] as? [[String: Any]])
        let encoder = try ImageTextEncoder(contentsOf: folder.file("clip.h5"))
        let images = try ["a red horse", "blue clouds"].enumerated().map { index, prompt in
            try succeed(
                folder.run(
                    "sample", "sd.h5", "--prompt", prompt, "--steps", "3", "--seed", "\(5 + index)", "-o", "x.png"))
            return try ImageFile.read(folder.file("x.png"))
        }
        let scores = clipScores(
            imageFeatures: encoder.imageFeatures(images),
            textFeatures: try encoder.textFeatures(["a red horse", "blue clouds"]))
        // Batches of images are sampled in another order of sums; a rounded pixel may differ by one.
        expectClose(try doubles(rows[0]["imageScores"]), scores, Tolerance(absolute: 0.05))
    }

    @Test("the table names the comparison, and long prompts cause a warning", .slow)
    func text() throws {
        let folder = try folder()
        try folder.write(
            "long.jsonl",
            """
            {"text": "a photo of an astronaut riding a horse", "category": "Long"}
            {"text": "a cat", "category": "Short"}
            """)
        try succeed(folder.run("import", Self.fixtures + "/pipelines/sd2", "-o", "other.h5", "-q"))
        let run = try folder.run(
            "evaluate", "sd.h5", "other.h5", "--clip", "clip.h5", "--prompts", "long.jsonl", "--steps", "2", "-q")
        try succeed(run)
        #expect(run.errors.contains("long.jsonl: 1 prompts have more than 6 tokens"))
        let lines = run.output.split(separator: "\n").map(String.init)
        #expect(lines.first?.split(separator: " ").prefix(4) == ["model", "CLIP", "±", "Fréchet"])
        #expect(lines.contains { $0.hasPrefix("category  prompts") })
        #expect(lines.last?.hasPrefix("other.h5 against sd.h5, 2 images in pairs: CLIP ") == true)
        #expect(lines.last?.contains("95 % interval") == true && lines.last?.contains("Holm") == false)
    }

    @Test("info describes a CLIP model")
    func info() throws {
        let folder = try folder()
        let report = try object(Data(folder.run("info", "clip.h5", "--json").output.utf8))
        let reader = try CheckpointReader(folder.file("clip.h5"), formats: [.clip])
        let count = reader.parameters.keys.reduce(0) { $0 + (reader.parameters.stored($1)?.count ?? 0) }
        #expect(report["parameters"] as? Int == count)
        #expect(report["bytes"] as? [String: Int] == ["float32": 4 * count])
        #expect(report["fileBytes"] as? Int == (try folder.data("clip.h5").count))
        #expect(report["imageSize"] as? Int == 16 && report["projectionDim"] as? Int == 10)
        let text = try folder.run("info", "clip.h5")
        try succeed(text)
        #expect(text.output.contains("CLIPModel, projections to 10 channels"))
        let recipe = try folder.run("info", "clip.h5", "--recipe", "r.json")
        #expect(recipe.status == 64 && recipe.errors.contains("--recipe: not for image-text encoders"))
    }

    @Test("analyze measures the CLIP drop of decoded latents", .slow)
    func analyze() throws {
        let folder = try folder()
        try folder.write("two.txt", "a red horse\nblue clouds\n")
        let arguments = [
            "analyze", "sd.h5", "--clip", "clip.h5", "--prompts", "two.txt", "--steps", "2", "--bits", "1,3", "-q",
            "--layers", "mid_block.attentions.0.proj_in",
        ]
        try succeed(folder.run(arguments + ["--measure", "images", "-o", "s.json"]))
        let table = try SensitivityTable.load(contentsOf: folder.url("s.json"))
        let layer = try #require(table.layers.first)
        for bits in [1, 3] {
            let scores = try #require(layer.bits[BitWidth(bits)])
            #expect(try #require(scores.clipDrop) != 0 && scores.perceptual == nil)
        }
        #expect(table.manifest?.inputs.map(\.path).contains("clip.h5") == true)
        let unused = try folder.run(arguments + ["--measure", "noise", "-o", "n.json"])
        #expect(unused.status == 64 && unused.errors.contains("--clip: scores images only"))
    }

    @Test("files and options that do not belong together are refused by name", .slow)
    func refused() throws {
        let folder = try folder()
        try folder.makeModel()
        try folder.write("two.txt", "a red horse\nblue clouds\n")
        let prompts = ["--prompts", "two.txt"]
        let cases: [([String], Int32, String)] = [
            (["sample", "clip.h5", "--prompt", "a cat", "-o", "x.png"], 65, "clip.h5: an image-text encoder"),
            (["analyze", "clip.h5"] + prompts, 65, "clip.h5: an image-text encoder"),
            (["quantize", "clip.h5", "-o", "q.h5"], 65, "clip.h5: an image-text encoder"),
            (["evaluate", "clip.h5", "--clip", "clip.h5"] + prompts, 65, "clip.h5: an image-text encoder"),
            (["evaluate", "sd.h5", "--clip", "sd.h5"] + prompts, 65, "sd.h5: a diffusion model (bitsfusion-model)"),
            (["analyze", "sd.h5", "--clip", "sd.h5"] + prompts, 65, "sd.h5: a diffusion model (bitsfusion-model)"),
            (["evaluate", "sd.h5"] + prompts, 64, "--prompts: requires --clip"),
            (["evaluate", "sd.h5"], 64, "sd.h5: a latent model; evaluate it with --clip and --prompts"),
            (["evaluate", "shapes", "--clip", "clip.h5"] + prompts, 65, "shapes: --prompts and --data need a latent"),
            (
                ["evaluate", "model.h5", "--clip", "clip.h5"] + prompts, 65,
                "model.h5: --prompts and --data need a latent"
            ),
            (
                ["evaluate", "sd.h5", "--clip", "clip.h5", "--prompts-per-family", "2"] + prompts, 64,
                "--prompts-per-family: excludes --prompts"
            ),
            (
                ["evaluate", "sd.h5", "--clip", "clip.h5", "--reference", "sd.h5"] + prompts, 64,
                "--reference: excludes --prompts"
            ),
            (
                ["import", Self.fixtures + "/clip", "--lora", Self.fixtures + "/clip/model.safetensors", "-o", "y.h5"],
                64,
                "is a CLIP model, which LoRAs are not for"
            ),
        ]
        let before = folder.names
        for (arguments, status, message) in cases {
            let run = try folder.run(arguments)
            #expect(run.status == status, "\(arguments)")
            #expect(run.errorLines.count == 1 && run.errors.contains(message), "\(arguments): \(run.errors)")
        }
        #expect(folder.names == before)
    }
}
