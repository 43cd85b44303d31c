// SPDX-License-Identifier: Apache-2.0
// `bitsfusion evaluate`: quality, size and speed of shapes models, or of latent models on a list of prompts, in one
// table.

import ArgumentParser
import BitsFusion
import Foundation
import ShapesWorld

struct EvaluateCommand: CommandOfProcesses {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Score models on the same prompts and seeds.",
        usage: "bitsfusion evaluate <model> ... [options]",
        discussion: """
            Reads models, students or packed files, and samples images of the same prompts and seeds with each of \
            them. Prints one row per model. All models but the first are also compared with the first in pairs of \
            images. --output writes the scores, --grid images.

            Models of the shapes world: compositional score (the share of images that match their prompt by an \
            evaluator of the pixels, mean over GenEval's six families), CLIP-proxy score, Fréchet distance, error of \
            the noise prediction to the reference model.

            Latent models with text encoder and VAE, with --clip and --prompts or --data: CLIP score as torchmetrics \
            computes it, also by category; Fréchet distance and CMMD of the CLIP features, PSNR and SSIM to the first \
            model's images; 95 % intervals and p-values of the differences in CLIP score. `bitsfusion import` makes \
            the file for --clip.

            Processes that `mpirun` starts share the images.

            Examples:

              bitsfusion evaluate shapes stage1.h5 stage2.h5 packed.h5 --grid grid.png
              bitsfusion evaluate packed.h5 --reference shapes --prompts-per-family 10
              bitsfusion evaluate sd15.h5 packed.h5 --clip clip.h5 --prompts prompts.tsv
            """)

    @Argument(
        help: ArgumentHelp(
            "Models, students or packed files; `shapes` is the shipped teacher.", valueName: "model"))
    var models: [ModelReference]

    @OptionGroup(title: "Common options") var main: MainOptions
    @OptionGroup(title: "Sampling options") var sampling: SamplingChoices
    @OptionGroup(title: "Computation options") var computation: ComputationOptions
    @OptionGroup(title: "Several processes") var processes: ProcessOptions
    @OptionGroup var common: CommonOptions

    struct MainOptions: ParsableArguments {
        @Option(
            help: """
                Prompts for latent models: text file with one prompt per line, .jsonl (prompt, text or caption; \
                category) or .tsv (columns Prompt, Category).
                """)
        var prompts: String?

        @Option(
            help: """
                Set of `bitsfusion dataset` in the place of --prompts: its captions are the prompts, and its condition \
                channels the inputs of inpainting models.
                """)
        var data: String?

        @Option(help: "Samples of --data, evenly spaced (default: 64, or all of a smaller set).")
        var count: Int?

        @Option(
            help: """
                CLIP model file for --prompts or --data; for shapes models a CLIP-proxy file (default: the shipped one).
                """)
        var clip: String?

        @Option(help: "Prompts of each of the six families, for shapes models (default: 40).")
        var promptsPerFamily: Int?

        @Option(
            help: "Model whose noise predictions are the reference, for shapes models (default: the first model).")
        var reference: ModelReference?

        @Option(name: .shortAndLong, help: "JSON file for the scores.")
        var output: String?

        @Option(
            help: """
                CSV file for the scores of each image, for shapes models: model, prompt, family, seed, satisfied, \
                clip, and psnr to the image of the first model.
                """)
        var imageScores: String?

        @Option(help: "PNG file for the images of the first prompts, one row per model.")
        var grid: String?

        @Option(help: "Images per row of the grid.")
        var columns = 12

        @Flag(help: "Print the scores as JSON.")
        var json = false

        func validate() throws {
            if let promptsPerFamily, promptsPerFamily < 1 {
                throw ValidationError("--prompts-per-family: expected 1 or more, found \(promptsPerFamily)")
            }
            if prompts != nil, data != nil { throw ValidationError("--prompts and --data exclude each other") }
            if let option = prompts.map({ _ in "--prompts" }) ?? data.map({ _ in "--data" }) {
                if clip == nil { throw ValidationError("\(option): requires --clip with a CLIP model; add it") }
                if promptsPerFamily != nil { throw ValidationError("--prompts-per-family: excludes \(option)") }
                if reference != nil { throw ValidationError("--reference: excludes \(option)") }
                if imageScores != nil { throw ValidationError("--image-scores: excludes \(option)") }
            }
            if let count {
                if data == nil { throw ValidationError("--count: has no effect without --data; add it") }
                if count < 1 { throw ValidationError("--count: expected 1 or more, found \(count)") }
            }
            guard columns > 0 else { throw ValidationError("--columns: expected 1 or more, found \(columns)") }
        }
    }

    struct SamplingChoices: ParsableArguments {
        @Option(
            parsing: .unconditional,
            help: "Sampling steps (default: 50; for latent models those that a packed file was made for).")
        var steps: Int?

        @Option(help: "Sampler (default: the first model's own).")
        var sampler: SamplerKind?

        @Option(
            parsing: .unconditional,
            help: ArgumentHelp(
                "Classifier-free guidance scale; 1 disables guidance (default: 3; for latent models 7.5, SDXL 5).",
                valueName: "scale"))
        var guidanceScale: Float?

        @Option(parsing: .unconditional, help: "Seed of the random numbers.")
        var seed: UInt64 = 1024

        func validate() throws { try validateSampling(steps: steps, guidanceScale: guidanceScale) }
    }

    struct ComputationOptions: ParsableArguments {
        @Option(help: "Images per batch (default: 16; for large models 1).")
        var batchSize: Int?

        @OptionGroup var activations: ActivationOptions

        func validate() throws {
            if let batchSize, batchSize < 1 {
                throw ValidationError("--batch-size: expected 1 or more, found \(batchSize)")
            }
        }
    }

    func validate() throws {
        guard !models.isEmpty else { throw ValidationError("<model>: expected one or more models, found none") }
    }

    func run() throws {
        common.apply()
        InterruptFlag.install()
        try Processes.start(processes, common)
        let communicator = Processes.communicator
        let (clip, grid, output) = (main.clip, main.grid, main.output)
        let read = try (models + [main.reference].compactMap { $0 }).map { try $0.path() }
        let inputs = read + [clip, main.prompts, main.data].compactMap { $0 }
        if communicator.isFirst {
            try Output.checkCanCreate([grid, output, main.imageScores].compactMap { $0 }, keeping: inputs)
        }
        try Processes.agree(onArgumentsAnd: inputs)
        if let prompts = main.prompts, let clip {
            return try evaluate(PromptFile.records(at: prompts), of: prompts, clip: clip)
        }
        if let data = main.data, let clip {
            let samples = try conditionedSamples(data)
            let records = samples.captions.map { PromptRecord(text: $0) }
            return try evaluate(records, of: data, samples: samples.samples, clip: clip)
        }
        // All models are checked before the first one is sampled.
        for model in models + [main.reference].compactMap({ $0 }) {
            let reader = try CheckpointReader(model.path())
            guard reader.header.configs[CheckpointHeader.vae] == nil else {
                throw CommandError(
                    .usage, "\(model.name): a latent model; evaluate it with --clip and --prompts or --data")
            }
            guard reader.textEncoder != nil else {
                throw CommandError(
                    .badData,
                    "\(model.name): no text encoder; evaluate models of the shapes world, or latent models with text "
                        + "encoder and VAE")
            }
        }
        let proxy = try ClipProxy(file: try clip ?? ShippedModels.clipProxy())
        let reference = main.reference ?? models[0]
        let referencePipeline = try reference.open()
        let steps = sampling.steps ?? 50
        let first = try main.reference == nil ? referencePipeline : models[0].open(precision: .keep16Bit)
        let sampler = try sampling.sampler ?? first.defaultSampler(steps: steps)
        let evaluator = ModelEvaluator(
            EvaluationOptions(
                promptsPerFamily: main.promptsPerFamily ?? 40, seed: sampling.seed,
                generation: GenerationOptions(
                    sampler: sampler, steps: steps,
                    guidanceScale: sampling.guidanceScale ?? 3, batchSize: computation.batchSize ?? 16)),
            clip: proxy, reference: referencePipeline)
        var rows: [EvaluatedModel] = []
        var images: [Tensor] = []
        var baseline: ImageScores?
        for model in models {
            let pipeline = try model.open(precision: .keep16Bit)
            computation.activations.apply(to: pipeline)
            let progress = common.progress(model.name, total: evaluator.suite.prompts.count, unit: "images")
            let result = try evaluator.evaluate(
                pipeline, communicator: communicator, interruption: InterruptFlag.check,
                progress: { progress.update(share: $0) })
            guard let (score, modelImages) = result else { continue }
            let scores = evaluator.imageScores(modelImages)
            rows.append(
                EvaluatedModel(
                    model: model.name, score: score, size: try ModelSize(of: pipeline, file: model.path()),
                    paired: baseline.map { PairedDifference(scores, against: $0) }))
            baseline = baseline ?? scores
            images.append(modelImages)
        }
        guard communicator.isFirst else { return }
        if let grid { try writeGrid(images, evaluator.suite, to: grid) }
        if let file = main.imageScores {
            let table = imageScoreTable(images, evaluator)
            try AtomicFile.write(Data(table.utf8), to: file)
        }
        let table = ScoreTable(
            options: evaluator.options, reference: reference.name, rows: rows)
        if let output { try AtomicFile.write(try table.encoded(), to: output) }
        guard !main.json else { return try Output.json(table) }
        table.text.print()
        for line in table.pairedLines { Output.line(line) }
    }

    /// The scores of each image as CSV, model by model in the order of the prompts.
    private func imageScoreTable(_ images: [Tensor], _ evaluator: ModelEvaluator) -> String {
        var lines = ["model,prompt,family,seed,satisfied,clip,psnr"]
        for (model, tensor) in zip(models, images) {
            let scores = evaluator.imageScores(tensor)
            let errors = meanSquaredErrors(tensor, reference: images[0])
            let name = "\"" + model.name.replacing("\"", with: "\"\"") + "\""
            for (index, prompt) in evaluator.suite.prompts.enumerated() {
                let psnr = peakSignalToNoiseRatio(meanSquaredError: errors[index], dataRange: 2)
                let fields = [
                    name, prompt.caption.text, prompt.caption.family.rawValue, "\(prompt.seed)",
                    "\(Int(scores.compositional[index]))", Numbers.fixed(scores.clip?[index], 6),
                    psnr.isFinite ? Numbers.fixed(psnr, 4) : "inf",
                ]
                lines.append(fields.joined(separator: ","))
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Writes images of the first prompts. Families alternate, so that a short row shows all of them.
    private func writeGrid(_ images: [Tensor], _ suite: PromptSuite, to path: String) throws {
        let families = PromptFamily.allCases.map { family in
            suite.prompts.indices.filter { suite.prompts[$0].caption.family == family }
        }
        let turns = (0..<suite.promptsPerFamily).flatMap { turn in
            families.compactMap { turn < $0.count ? $0[turn] : nil }
        }
        let shown = turns.prefix(main.columns)
        let rows = images.map { tensor in
            let images = ModelEvaluator.images(tensor)
            return shown.map { images[$0] }
        }
        try writeGrid(rows, pixelScale: 3, prompts: shown.map { suite.prompts[$0].caption.text }, to: path)
    }

    /// Writes one row of images per model.
    private func writeGrid(_ rows: [[RGBImage]], pixelScale: Int, prompts: [String], to path: String) throws {
        let labels = models.map { URL(fileURLWithPath: $0.name).deletingPathExtension().lastPathComponent }
        let image = ImageGrid(rows: rows, rowLabels: labels, columnLabels: [], pixelScale: pixelScale).render()
        try PNGFile.write(image, to: path)
        Output.line("\(path): columns are " + prompts.map { "\"\($0)\"" }.joined(separator: ", "))
    }
}

// MARK: Latent models

extension EvaluateCommand {
    /// Samples of the set at `path`, which must be one for the first model.
    private func conditionedSamples(_ path: String) throws -> CalibrationSamples {
        let first = try latentPipeline(models[0])
        let set = try LatentSetReader(path)
        return try addingFile(path) {
            try CalibrationSamples(set, count: main.count ?? 64, for: first.config(), encoder: first.promptEncoder())
        }
    }

    /// Evaluates latent models on prompts.
    ///
    /// - Parameters:
    ///   - prompts: K prompts.
    ///   - path: the file that they are from.
    ///   - samples: `[K, IC, H, W]`, one for each prompt, whose condition channels and size are taken.
    ///   - clip: the file of the CLIP model.
    /// - Throws: what opening, sampling and scoring throw; `Interrupted`.
    private func evaluate(
        _ prompts: [PromptRecord], of path: String, samples: Tensor? = nil, clip: String
    ) throws {
        let pipelines = try models.map { try latentPipeline($0) }
        var options = try generationOptions(pipelines)
        let config = try pipelines[0].config()
        var inputs = SamplingInputs()
        if let samples {
            options.size = SampleSize(height: samples.shape[2], width: samples.shape[3])
            if config.conditionChannels > 0 {
                inputs.setCondition(
                    samples.sliced(axis: 1, config.outChannels..<config.inChannels),
                    conditioning: try ImageConditioning(config))
            }
        }
        let encoder = try addingFile(clip) { try ImageTextEncoder(contentsOf: clip) }
        let evaluation = try PromptEvaluation(
            prompts: prompts, clip: encoder, options: options, inputs: inputs, seed: sampling.seed,
            shown: main.grid == nil ? 0 : main.columns, communicator: Processes.communicator)
        try encoder.warnOfTruncation(prompts.map(\.text), in: path)
        var results: [(model: ModelReference, measured: ImageMeasurements)] = []
        for (model, pipeline) in zip(models, pipelines) {
            let measured = try evaluation.measure(pipeline, reference: results.first?.measured.images) { label in
                common.progress(label, total: prompts.count, unit: "images")
            }
            if let measured { results.append((model, measured)) }
        }
        guard Processes.communicator.isFirst else { return }
        let table = try PromptScoreTable(evaluation, clip: clip, results: results)
        if let grid = main.grid {
            try writeGrid(
                results.map { $0.measured.images.prefix(main.columns).map(\.image) }, pixelScale: 1,
                prompts: prompts.prefix(main.columns).map(\.text), to: grid)
        }
        if let output = main.output { try AtomicFile.write(try JSONEncoder.document.encode(table), to: output) }
        if main.json { try Output.json(table) } else { table.print() }
    }

    /// The file of a model that makes images of prompts.
    private func latentPipeline(_ model: ModelReference) throws -> StagedPipeline {
        let pipeline = try StagedPipeline(model, activations: computation.activations.activations)
        guard pipeline.hasVAE, pipeline.reader.textEncoder != nil else {
            throw CommandError(
                .badData,
                "\(model.name): --prompts and --data need a latent model with text encoder and VAE; import the whole "
                    + "pipeline folder, or leave them out for models of the shapes world")
        }
        return pipeline
    }

    /// The same options for all models. The first one decides defaults, except for the steps that packed files cache.
    private func generationOptions(_ pipelines: [StagedPipeline]) throws -> GenerationOptions {
        let config = try pipelines[0].config()
        let cachedSteps = try pipelines.compactMap { try $0.reader.timeFeatures()?.timesteps.count }
        let steps = sampling.steps ?? cachedSteps.first ?? 50
        let skeleton = try DiffusionPipeline(
            denoiser: config.skeleton(), schedulerJSON: pipelines[0].reader.header.scheduler)
        let sampler = try sampling.sampler ?? pipelines[0].ownSampler(skeleton, steps: steps)
        for pipeline in pipelines { try pipeline.checkSteps(steps, sampler: sampler) }
        return GenerationOptions(
            sampler: sampler, steps: steps,
            guidanceScale: StagedPipeline.guidanceScale(sampling.guidanceScale, for: config),
            batchSize: computation.batchSize ?? (skeleton.isLarge ? 1 : 16), randomNumbers: .torch)
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
        "noise error", "avg bits", "entropy", "bytes", "s/image",
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
            return PairedText.heading(row.model, first.model, images: paired.compositional.count)
                + parts.joined(separator: "; ")
        }
    }

    private func describe(_ name: String, _ difference: MeanEstimate) -> String {
        "\(name) \(PairedText.signed(difference.mean, 4)) ± \(Numbers.fixed(difference.standardError, 4)) "
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
        return [row.model, Numbers.fixed(score.compositional, 3), Numbers.fixed(score.compositionalStandardError, 3)]
            + families.map { Numbers.fixed(shares[$0.rawValue], 2) }
            + [
                Numbers.fixed(score.clipScore?.mean, 3), Numbers.fixed(score.frechetDistance, 2),
                Numbers.fixed(score.noiseError, 5),
                Numbers.fixed(row.size.averageBits, 3), Numbers.fixed(row.size.entropyBits, 3),
                "\(row.size.packedBytes)",
                Numbers.fixed(score.secondsPerImage, 3),
            ]
    }
}
