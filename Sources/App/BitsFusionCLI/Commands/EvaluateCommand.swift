// SPDX-License-Identifier: Apache-2.0
// `bitsfusion evaluate`: quality, size and speed of shapes models, side by side.

import ArgumentParser
import BitsFusion
import Foundation
import ShapesWorld

struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Score models side by side: same prompts, same seeds.",
        discussion: """
            One row per model: compositional score (the share of images that satisfy their prompt, decided from the \
            pixels, mean over GenEval's six families), CLIP-proxy score, Fréchet distance, error of the predicted \
            noise against the reference, average bits, bytes, seconds per image.

              bitsfusion evaluate shapes packed.h5 stage1.h5 stage2.h5 --grid grid.png
            """)

    @Argument(
        help: ArgumentHelp(
            "Models, students or packed files; `shapes` is the shipped teacher.", valueName: "model"))
    var models: [ModelReference]

    @Option(help: "The model whose noise predictions are the yardstick (default: the first one).")
    var reference: ModelReference?

    @Option(help: "Prompts of each of the six families.")
    var promptsPerFamily = 40

    @OptionGroup var generation: GenerationArguments

    @Option(help: "Write the images of the first prompts, one row per model.")
    var grid: String?

    @Option(help: "Images per row of the grid.")
    var columns = 12

    @Option(name: .shortAndLong, help: "Write the scores as JSON.")
    var output: String?

    @Option(help: "A CLIP-proxy (default: the shipped one).")
    var clip: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var activations: ActivationArguments
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard !models.isEmpty else { throw ValidationError("name at least one model") }
        guard promptsPerFamily > 0 else {
            throw ValidationError("--prompts-per-family: expected 1 or more, found \(promptsPerFamily)")
        }
        guard columns > 0 else { throw ValidationError("--columns: expected 1 or more, found \(columns)") }
    }

    func run() throws {
        common.apply()
        InterruptFlag.install()
        let inputs = try models.map { try $0.path() } + [clip].compactMap { $0 }
        for path in [grid, output].compactMap({ $0 }) { try Output.checkCanCreate(path, keeping: inputs) }
        // What is wrong with the last model should not wait for the images of the first.
        for model in models + [reference].compactMap({ $0 }) {
            guard try CheckpointReader(model.path()).textEncoder != nil else {
                throw CommandError(
                    .badData,
                    "\(model.name): has no text encoder; evaluate scores models of the shapes world only")
            }
        }
        let proxy = try ClipProxy(file: try clip ?? ShippedModels.clipProxy())
        let yardstick = try (reference ?? models[0]).open()
        let evaluator = ModelEvaluator(
            EvaluationOptions(
                promptsPerFamily: promptsPerFamily, seed: generation.seed, generation: generation.options()),
            clip: proxy, reference: yardstick)
        var rows: [EvaluatedModel] = []
        var images: [Tensor] = []
        var baseline: ImageScores?
        for model in models {
            let pipeline = try model.open(precision: .keep16Bit)
            activations.apply(to: pipeline)
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
            options: evaluator.options, reference: (reference ?? models[0]).name, rows: rows)
        if let output { try AtomicFile.write(try table.encoded(), to: output) }
        guard !json else { return try Output.json(table) }
        table.text.print()
        for line in table.pairedLines { Output.line(line) }
    }

    /// Prompts of all families in turn, so that a short row shows each.
    private func writeGrid(_ images: [Tensor], _ suite: PromptSuite, to path: String) throws {
        let families = PromptFamily.allCases.map { family in
            suite.prompts.indices.filter { suite.prompts[$0].caption.family == family }
        }
        let turns = (0..<promptsPerFamily).flatMap { turn in
            families.compactMap { turn < $0.count ? $0[turn] : nil }
        }
        let shown = turns.prefix(columns)
        let rows = images.map { tensor in
            let images = ModelEvaluator.images(tensor)
            return shown.map { images[$0] }
        }
        let labels = models.map { URL(fileURLWithPath: $0.name).deletingPathExtension().lastPathComponent }
        let image = ImageGrid(rows: rows, rowLabels: labels, columnLabels: [], pixelScale: 3).render()
        try PNGFile.write(image, to: path)
        Output.line(
            "\(path): columns are "
                + shown.map { "“\(suite.prompts[$0].caption.text)”" }.joined(separator: ", "))
    }
}
