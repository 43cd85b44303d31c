// SPDX-License-Identifier: Apache-2.0
// `bitsfusion evaluate`: quality, size and speed of shapes models in one table.

import ArgumentParser
import BitsFusion
import Foundation
import ShapesWorld

struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Score models on the same prompts and seeds.",
        usage: "bitsfusion evaluate <model> ... [options]",
        discussion: """
            Reads shapes models, students or packed files. Prints one row per model: compositional score (the share \
            of images that match their prompt by an evaluator of the pixels, mean over GenEval's six families), \
            CLIP-proxy score, Fréchet distance, error of the noise prediction to the reference model, average bits, \
            bytes, seconds per image. All models but the first are also compared with the first in pairs of images. \
            --output writes the scores, --grid images.

            Examples:

              bitsfusion evaluate shapes stage1.h5 stage2.h5 packed.h5 --grid grid.png
              bitsfusion evaluate packed.h5 --reference shapes --prompts-per-family 10
            """)

    @Argument(
        help: ArgumentHelp(
            "Models, students or packed files; `shapes` is the shipped teacher.", valueName: "model"))
    var models: [ModelReference]

    @OptionGroup(title: "Common options") var main: MainOptions
    @OptionGroup(title: "Sampling options") var sampling: SamplingOptions<EvaluationDefaults>
    @OptionGroup(title: "Computation options") var computation: ComputationOptions
    @OptionGroup var common: CommonOptions

    struct MainOptions: ParsableArguments {
        @Option(help: "Prompts of each of the six families.")
        var promptsPerFamily = 40

        @Option(help: "Model whose noise predictions are the reference (default: the first model).")
        var reference: ModelReference?

        @Option(help: "CLIP-proxy file (default: the shipped one).")
        var clip: String?

        @Option(name: .shortAndLong, help: "JSON file for the scores.")
        var output: String?

        @Option(help: "PNG file for the images of the first prompts, one row per model.")
        var grid: String?

        @Option(help: "Images per row of the grid.")
        var columns = 12

        @Flag(help: "Print the scores as JSON.")
        var json = false

        func validate() throws {
            guard promptsPerFamily > 0 else {
                throw ValidationError("--prompts-per-family: expected 1 or more, found \(promptsPerFamily)")
            }
            guard columns > 0 else { throw ValidationError("--columns: expected 1 or more, found \(columns)") }
        }
    }

    enum EvaluationDefaults: SamplingDefaults {
        static let steps = 50
        static let sampler = SamplerKind.pndm
        static let seed: UInt64 = 1024
        static let guidanceScale = "3"
    }

    struct ComputationOptions: ParsableArguments {
        @Option(help: "Images per batch.")
        var batchSize = 16

        @OptionGroup var activations: ActivationOptions

        func validate() throws {
            if batchSize < 1 { throw ValidationError("--batch-size: expected 1 or more, found \(batchSize)") }
        }
    }

    func validate() throws {
        guard !models.isEmpty else { throw ValidationError("<model>: expected one or more models, found none") }
    }

    func run() throws {
        common.apply()
        InterruptFlag.install()
        let (clip, grid, output) = (main.clip, main.grid, main.output)
        let inputs = try models.map { try $0.path() } + [clip].compactMap { $0 }
        for path in [grid, output].compactMap({ $0 }) { try Output.checkCanCreate(path, keeping: inputs) }
        // All models are checked before the first one is sampled.
        for model in models + [main.reference].compactMap({ $0 }) {
            guard try CheckpointReader(model.path()).textEncoder != nil else {
                throw CommandError(
                    .badData,
                    "\(model.name): no text encoder; evaluate supports models of the shapes world only")
            }
        }
        let proxy = try ClipProxy(file: try clip ?? ShippedModels.clipProxy())
        let reference = main.reference ?? models[0]
        let referencePipeline = try reference.open()
        let evaluator = ModelEvaluator(
            EvaluationOptions(
                promptsPerFamily: main.promptsPerFamily, seed: sampling.seed,
                generation: GenerationOptions(
                    sampler: sampling.sampler, steps: sampling.steps, guidanceScale: sampling.guidanceScale ?? 3,
                    batchSize: computation.batchSize)),
            clip: proxy, reference: referencePipeline)
        var rows: [EvaluatedModel] = []
        var images: [Tensor] = []
        var baseline: ImageScores?
        for model in models {
            let pipeline = try model.open(precision: .keep16Bit)
            computation.activations.apply(to: pipeline)
            let progress = common.progress(model.name, total: evaluator.suite.prompts.count, unit: "images")
            let (score, modelImages) = try evaluator.evaluate(pipeline) { share in
                try InterruptFlag.check()
                progress.update(share: share)
            }
            let scores = evaluator.imageScores(modelImages)
            rows.append(
                EvaluatedModel(
                    model: model.name, score: score, size: try ModelSize(of: pipeline, file: model.path()),
                    paired: baseline.map { PairedDifference(scores, against: $0) }))
            baseline = baseline ?? scores
            images.append(modelImages)
        }
        if let grid { try writeGrid(images, evaluator.suite, to: grid) }
        let table = ScoreTable(
            options: evaluator.options, reference: reference.name, rows: rows)
        if let output { try AtomicFile.write(try table.encoded(), to: output) }
        guard !main.json else { return try Output.json(table) }
        table.text.print()
        for line in table.pairedLines { Output.line(line) }
    }

    /// Writes images of the first prompts. Families alternate, so that a short row shows all of them.
    private func writeGrid(_ images: [Tensor], _ suite: PromptSuite, to path: String) throws {
        let families = PromptFamily.allCases.map { family in
            suite.prompts.indices.filter { suite.prompts[$0].caption.family == family }
        }
        let turns = (0..<main.promptsPerFamily).flatMap { turn in
            families.compactMap { turn < $0.count ? $0[turn] : nil }
        }
        let shown = turns.prefix(main.columns)
        let rows = images.map { tensor in
            let images = ModelEvaluator.images(tensor)
            return shown.map { images[$0] }
        }
        let labels = models.map { URL(fileURLWithPath: $0.name).deletingPathExtension().lastPathComponent }
        let image = ImageGrid(rows: rows, rowLabels: labels, columnLabels: [], pixelScale: 3).render()
        try PNGFile.write(image, to: path)
        Output.line(
            "\(path): columns are "
                + shown.map { "\"\(suite.prompts[$0].caption.text)\"" }.joined(separator: ", "))
    }
}

// MARK: Results

/// One row: a model with its scores and size.
struct EvaluatedModel: Codable {
    let model: String
    let score: ModelScore
    let size: ModelSize
    /// The comparison of its images with those of the first model; nil for the first model.
    var paired: PairedDifference?
}

/// The table of scores that `evaluate` prints and writes; part of the report of `demo`.
struct ScoreTable: Codable {
    let options: EvaluationOptions
    /// The model whose noise predictions are the reference.
    let reference: String
    let rows: [EvaluatedModel]

    private static let header = [
        "model", "overall", "±", "single", "two", "count", "colors", "position", "attrib.", "CLIP", "Fréchet",
        "noise error", "avg bits", "bytes", "s/image",
    ]

    /// Indented JSON with sorted keys.
    func encoded() throws -> Data {
        return try JSONEncoder.document.encode(self)
    }

    /// The table as text.
    var text: TextTable {
        var table = TextTable(Self.header)
        for row in rows { table.add(cells(row)) }
        return table
    }

    /// Each model compared with the first, image by image; empty for one model.
    var pairedLines: [String] {
        guard let first = rows.first else { return [] }
        return rows.compactMap { row in
            guard let paired = row.paired else { return nil }
            let parts =
                [describe("overall", paired.compositional)]
                + (paired.clip.map { [describe("CLIP", $0)] } ?? [])
            return "\(row.model) against \(first.model), \(paired.compositional.count) images in pairs: "
                + parts.joined(separator: "; ")
        }
    }

    private func describe(_ name: String, _ difference: MeanEstimate) -> String {
        let sign = difference.mean < 0 ? "" : "+"
        return "\(name) \(sign)\(format(difference.mean, 4)) ± \(format(difference.standardError, 4)) "
            + (PairedDifference.isSignificant(difference) ? "(significant)" : "(not significant)")
    }

    /// The table as Markdown.
    var markdown: String {
        let lines =
            [Self.header, ["---"] + Self.header.dropFirst().map { _ in "---:" }] + rows.map(cells)
        return lines.map { "| " + $0.joined(separator: " | ") + " |" }.joined(separator: "\n")
    }

    private func cells(_ row: EvaluatedModel) -> [String] {
        let score = row.score
        var shares: [String: Double] = [:]
        for family in score.families { shares[family.name] = family.score }
        let families = [
            PromptFamily.singleObject, .twoObjects, .counting, .colors, .position, .colorAttribution,
        ]
        return [row.model, format(score.compositional, 3), format(score.compositionalStandardError, 3)]
            + families.map { format(shares[$0.rawValue], 2) }
            + [
                format(score.clipScore?.mean, 3), format(score.frechetDistance, 2),
                format(score.noiseError, 5),
                format(row.size.averageBits, 3), "\(row.size.packedBytes)",
                format(score.secondsPerImage, 3),
            ]
    }

    private func format(_ value: Double?, _ digits: Int) -> String {
        value.map { String(format: "%.\(digits)f", $0) } ?? "–"
    }
}
