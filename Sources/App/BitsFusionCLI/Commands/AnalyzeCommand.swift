// SPDX-License-Identifier: Apache-2.0
// `bitsfusion analyze`: measures the sensitivity of each layer to quantization.

import ArgumentParser
import BitsFusion
import Foundation

struct AnalyzeCommand: CommandOfProcesses {
    static let configuration = CommandConfiguration(
        commandName: "analyze",
        abstract: "Measure each layer's sensitivity to quantization.",
        usage: "bitsfusion analyze <model> [--output <output>] [options]",
        discussion: """
            Reads a full-precision model. Quantizes one layer at a time to each bit width (balanced grid, alternating \
            scale initialization), fine-tunes it with --qat-steps, and writes its scores to sensitivity.json for \
            `bitsfusion allocate`. The first and last convolution are measured at their fixed 8 bits. --measure \
            selects the scores:

              images  images of the quantized and the full-precision model are compared:
                      squared error, PSNR, perceptual distance, CLIP-score drop
              noise   squared error of the predicted noise, weighted by (1 - ᾱ)/ᾱ, at
                      timesteps drawn from Beta(3, 1); faster than images
              fisher  the same error, estimated for all layers and bit widths from
                      gradients; fastest

            Measurements are saved in <output>.partial; --resume continues an interrupted analysis to the same result. \
            Processes that `mpirun` starts share the candidates. --shard splits an analysis without MPI; `bitsfusion \
            merge` merges the tables.

            Examples:

              bitsfusion analyze shapes
              bitsfusion analyze model.h5 --measure noise,fisher --embeddings e.safetensors
            """)

    @Argument(help: "Full-precision model file, or `shapes` for the shipped teacher.")
    var model: ModelReference

    @OptionGroup(title: "Common options") var main: MainOptions
    @OptionGroup(title: "Calibration prompts") var calibration: CalibrationOptions
    @OptionGroup(title: "Sampling options") var sampling: SamplingOptions<AnalysisDefaults>
    @OptionGroup(title: "Fine-tuning options") var tuning: TuningOptions
    @OptionGroup(title: "Large models") var scale: ScaleOptions
    @OptionGroup(title: "Several processes") var processes: ProcessOptions
    @OptionGroup var common: CommonOptions

    struct MainOptions: ParsableArguments {
        @Option(name: .shortAndLong, help: "Sensitivity table to write.")
        var output = "sensitivity.json"

        @Option(
            help: """
                Scores to measure, separated by commas: images, noise, fisher (default: images,noise; noise above 50 M \
                parameters).
                """)
        var measure: MeasurementList?

        @Option(help: "Bits to measure each layer at, 1 to 8, separated by commas.")
        var bits = "1,2,3"

        @Option(help: "Number of prompts (default: 6 built-in ones, or all of --prompts or --embeddings).")
        var numPrompts: Int?

        @Flag(help: "Continue an interrupted analysis.")
        var resume = false

        @Flag(help: "Start from scratch even if the output exists or an interrupted analysis left measurements.")
        var overwrite = false

        @Flag(help: "Measure a few candidates, print the expected time and memory, and stop.")
        var dryRun = false

        @Flag(help: "Print the table as JSON.")
        var json = false
    }

    struct CalibrationOptions: ParsableArguments {
        @Option(
            help: """
                Prompts, as a text file with one per line, JSON lines or TSV (default: captions of the shapes world). \
                With --embeddings: the prompts of its rows, for --clip.
                """)
        var prompts: String?

        @Option(
            help: """
                safetensors file with encoder_hidden_states [N, T, D] and negative_encoder_hidden_states, for models \
                without text encoder; for SDXL also text_embeds, negative_text_embeds and time_ids.
                """)
        var embeddings: String?

        @Option(
            help: """
                Set of `bitsfusion dataset`: noise predictions are compared on its samples. Inpainting and \
                InstructPix2Pix models need one.
                """)
        var data: String?

        @Option(
            help: """
                File of a CLIP model, for models with a VAE, or of a CLIP-proxy (default: the shipped one for models \
                of the shapes world). Scores images against their prompts.
                """)
        var clip: String?

        @Option(help: "Noised samples per image, for noise, fisher and --qat-steps (default: 4).")
        var timesteps: Int?
    }

    enum AnalysisDefaults: SamplingDefaults {
        static let steps = 8
        static let sampler = SamplerKind.ddim
        static let seed: UInt64 = 0
        static let guidanceScale = "3"
    }

    struct TuningOptions: ParsableArguments {
        @Option(help: "Training steps of each candidate before its measurement; 0: none.")
        var qatSteps = 0

        @Option(help: "Learning rate of the weights (default: 1e-3; 1e-5 above 50 M parameters).")
        var qatLearningRate: Float?

        @Option(help: "Learning rate of the scales (default: 1e-4; 1e-5 above 50 M parameters).")
        var qatScaleLearningRate: Float?

        func validate() throws {
            for (option, rate) in [
                ("--qat-learning-rate", qatLearningRate), ("--qat-scale-learning-rate", qatScaleLearningRate),
            ] {
                if let rate, !(rate >= 0 && rate.isFinite) {
                    throw ValidationError("\(option): expected 0 or more, found \(rate)")
                }
                if rate != nil && qatSteps == 0 {
                    throw ValidationError("\(option): has no effect without --qat-steps; add it")
                }
            }
        }
    }

    struct ScaleOptions: ParsableArguments {
        @Option(help: "Measure only part K of N, written K/N, for `bitsfusion merge`.")
        var shard: SensitivityShard?

        @Option(help: "Measure only layers whose path matches this regular expression.")
        var layers: String?

        @Option(help: "Memory for cached activations, in GB.")
        var memory = 2.0

        @Option(help: "Height and width of the samples, in pixels or latents (default: as in the config).")
        var size: Int?

        func validate() throws {
            if !(memory >= 0 && memory <= 1e6) {
                throw ValidationError("--memory: expected 0 to 1000000 GB, found \(memory)")
            }
            if let size, !(1...1024).contains(size) {
                throw ValidationError("--size: expected 1 to 1024, found \(size)")
            }
        }
    }

    func validate() throws {
        _ = try candidateBits()
        for (option, value, range) in [
            ("--num-prompts", main.numPrompts ?? 1, 1...100_000),
            ("--timesteps", calibration.timesteps ?? 1, 1...1000),
            ("--qat-steps", tuning.qatSteps, 0...1_000_000),
        ] where !range.contains(value) {
            throw ValidationError(
                "\(option): expected \(range.lowerBound) to \(range.upperBound), found \(value)")
        }
        if tuning.qatSteps > 0, main.measure?.modes == [.fisher] {
            throw ValidationError(
                "--qat-steps: fisher scores are of untrained candidates; add images or noise to --measure")
        }
        if calibration.timesteps != nil, tuning.qatSteps == 0, main.measure?.modes == [.images] {
            throw ValidationError(
                "--timesteps: has no effect on images; add noise or fisher to --measure, or --qat-steps")
        }
        if main.resume && main.overwrite { throw ValidationError("--resume and --overwrite exclude each other") }
        if calibration.data != nil {
            let others = [
                ("--prompts", calibration.prompts != nil), ("--embeddings", calibration.embeddings != nil),
                ("--clip", calibration.clip != nil), ("--size", scale.size != nil),
            ]
            if let (option, _) = others.first(where: \.1) {
                throw ValidationError("\(option): cannot be combined with --data")
            }
            if main.measure?.modes.contains(.images) == true {
                throw ValidationError("--measure: images are not sampled with --data; choose noise or fisher")
            }
        }
        if calibration.clip != nil && calibration.embeddings != nil && calibration.prompts == nil {
            throw ValidationError("--clip: requires --prompts that describe the rows of --embeddings; add it")
        }
    }

    func run() throws {
        common.apply()
        InterruptFlag.install()
        if main.dryRun { try Processes.checkIsAlone("analyze --dry-run") }
        try Processes.start(processes, common)
        let communicator = Processes.communicator
        let files = [calibration.embeddings, calibration.prompts, calibration.data, calibration.clip]
        let inputs = try [model.path()] + files.compactMap { $0 }
        if communicator.isFirst {
            try Output.checkCanCreate(main.output, keeping: inputs)
            try Output.checkIsNoInput("\(main.output).partial", keeping: inputs)
            if !main.dryRun { try checkOverwriting() }
        }
        let sweep = try makeSweep()
        if main.dryRun { return try showForecast(of: sweep) }
        try Processes.agree(on: [("settings", try sweep.identityText())])
        let finished = main.resume && communicator.isFirst ? try finishedTable(of: sweep) : nil
        if try communicator.any(finished != nil) {
            guard let finished else { return }
            Output.warning("\(main.output): already finished")
            return try show(finished)
        }
        let url = URL(fileURLWithPath: main.output)
        var reporter: ProgressReporter?
        let table = try sweep.run(
            output: url, unfinished: main.resume ? .resumed : main.overwrite ? .overwritten : .refused,
            communicator: communicator,
            progress: { progress in
                let current =
                    reporter
                    ?? ProgressReporter(
                        "analyzing", total: progress.total, unit: "measurements", isQuiet: common.quiet,
                        first: progress.done)
                reporter = current
                current.update(
                    progress.done, note: progress.latest.map { "\($0.path) at \($0.bits) bits" } ?? "")
            }, shouldStop: { InterruptFlag.isSet })
        reporter?.endLine()
        guard let table else {
            if !communicator.isFirst, !InterruptFlag.isSet { return }
            throw Interrupted(
                note: "measurements are saved in \(main.output).partial; continue with --resume")
        }
        for candidate in sweep.unusable {
            Output.warning(
                "\(candidate.path) at \(candidate.bits) bits: the output is not finite; the table omits this bit width"
            )
        }
        try show(table)
    }

    /// Refuses to replace a finished table, before the model is read. The analysis itself guards the measurements of an
    /// interrupted one.
    private func checkOverwriting() throws {
        guard !main.resume, !main.overwrite, FileManager.default.fileExists(atPath: main.output) else { return }
        throw CommandError(
            .usage,
            "\(main.output): exists already; pass --overwrite to replace it, --resume to show the table of a finished "
                + "analysis, or choose another --output")
    }

    private func show(_ table: SensitivityTable) throws {
        guard !main.json else { return try Output.json(table) }
        SensitivityReport(table).print()
        Output.line("")
        Output.line(
            table.unlistedLayers.isEmpty
                ? "\(main.output); next: bitsfusion allocate \(main.output) --avg-bits 1.99"
                : "\(main.output): some layers; next: bitsfusion merge with the other shards")
    }

    private func showForecast(of sweep: SensitivitySweep) throws {
        guard let forecast = try sweep.forecast(shouldStop: { InterruptFlag.isSet }) else {
            throw Interrupted(note: "nothing was written")
        }
        if main.json { return try Output.json(ForecastReport(forecast)) }
        Output.line("candidates       \(forecast.candidates)")
        Output.line("expected time    \(Numbers.time(forecast.seconds + forecast.secondsBefore))")
        Output.line("  preparation    \(Numbers.time(forecast.secondsBefore))")
        Output.line(
            String(
                format: "  per candidate  %.3f s on average", forecast.seconds / Double(forecast.candidates)))
        Output.line(
            String(
                format: "peak memory      %.2f GB of tensors, %.2f GB of them cached activations",
                Double(forecast.peakBytes) / 1e9, Double(forecast.stateBytes) / 1e9))
        Output.line("forecast from \(forecast.sampled) measured candidates; no file was written")
    }

    /// The finished table of this analysis in the output file; nil if there is an unfinished analysis or another table.
    private func finishedTable(of sweep: SensitivitySweep) throws -> SensitivityTable? {
        let url = URL(fileURLWithPath: main.output)
        let files = FileManager.default
        guard !files.fileExists(atPath: SensitivitySweep.journalPath(of: url)) else { return nil }
        if files.fileExists(atPath: main.output) {
            let table = try SensitivityTable.load(contentsOf: url)
            if sweep.isFinished(in: table) {
                guard let completed = sweep.addingRates(to: table) else { return table }
                try completed.write(to: url)
                return completed
            }
            throw CommandError(
                .usage,
                "\(main.output): is of another analysis; pass --overwrite to replace it, or choose another --output")
        }
        Output.warning("--resume: no saved analysis found; starting from scratch")
        return nil
    }

    private func makeSweep() throws -> SensitivitySweep {
        let pipeline = try model.open()
        try addingFile(model.name) {
            try pipeline.checkCanBeAnalyzed(hasSamples: calibration.data != nil)
            _ = try pipeline.noiseSchedule()
            _ = try pipeline.samplerConfig(sampling.sampler).sampler(sampling.sampler, steps: sampling.steps)
        }
        let calibrationSet = try calibrationSet(for: pipeline)
        let scorer = try scorer(for: pipeline)
        let options = try options(for: pipeline)
        if calibration.clip != nil, !options.measures.contains(.images) {
            throw CommandError(.usage, "--clip: scores images only; add images to --measure")
        }
        if let encoder = scorer?.proxy as? ImageTextEncoder {
            try encoder.warnOfTruncation(calibrationSet.prompts, in: calibration.prompts ?? model.name)
        }
        let reference = try model.fileReference()
        var inputs = [reference]
        inputs += [calibrationSet.embeddings, calibrationSet.data].compactMap { $0 }
        if let scorer { inputs.append(scorer.file) }
        return try SensitivitySweep(
            pipeline: pipeline, model: reference, calibration: calibrationSet, clip: scorer?.proxy,
            options: options,
            manifest: RunManifest(
                toolVersion: toolVersion, commandLine: Output.commandLine,
                seed: sampling.seed, inputs: inputs))
    }

    private func calibrationSet(for pipeline: DiffusionPipeline) throws -> CalibrationSet {
        let (count, seed) = (main.numPrompts, sampling.seed)
        let prompts = try calibration.prompts.map(PromptFile.prompts)
        if let embeddings = calibration.embeddings {
            return try addingFile(embeddings) {
                try CalibrationSet(
                    embeddingsFile: embeddings, prompts: prompts ?? [], count: count, seed: seed, pipeline: pipeline)
            }
        }
        if let data = calibration.data {
            return try addingFile(data) {
                try CalibrationSet(dataSet: data, count: count ?? 16, seed: seed, pipeline: pipeline)
            }
        }
        if let prompts {
            return try CalibrationSet(prompts: prompts, count: count, seed: seed, pipeline: pipeline)
        }
        return try BundledWorld.calibrationSet(count: count, seed: seed, pipeline: pipeline)
    }

    private func options(for pipeline: DiffusionPipeline) throws -> SensitivityOptions {
        let isLarge = pipeline.isLarge
        return SensitivityOptions(
            bits: try candidateBits(),
            measures: main.measure?.modes ?? (isLarge || calibration.data != nil ? [.noise] : [.images, .noise]),
            generation: GenerationOptions(
                sampler: sampling.sampler, steps: sampling.steps, guidanceScale: sampling.guidanceScale ?? 3,
                batchSize: isLarge ? 1 : GenerationOptions().batchSize,
                size: scale.size.map { SampleSize(square: $0) }),
            timestepsPerImage: calibration.timesteps ?? 4,
            tuning: LayerTuningOptions(
                steps: tuning.qatSteps, learningRate: tuning.qatLearningRate ?? (isLarge ? 1e-5 : 1e-3),
                scaleLearningRate: tuning.qatScaleLearningRate ?? (isLarge ? 1e-5 : 1e-4)),
            layerPattern: scale.layers, shard: scale.shard, memoryLimit: Int(scale.memory * 1e9),
            checkpointing: isLarge ? .blocks : .none)
    }

    private func candidateBits() throws -> [BitWidth] {
        try main.bits.split(separator: ",", omittingEmptySubsequences: false).map { text in
            let text = text.trimmingCharacters(in: .whitespaces)
            guard let bits = Int(text).flatMap(BitWidth.init(rawValue:)) else {
                throw ValidationError(
                    "--bits: expected numbers from 1 to 8 separated by commas, found \"\(main.bits)\"")
            }
            return bits
        }
    }

    /// The given scorer, or the shipped one for models whose images it can score.
    private func scorer(for pipeline: DiffusionPipeline) throws -> (proxy: any PromptScorer, file: FileReference)? {
        let makesShapes = BundledWorld.covers(pipeline) && pipeline.denoiser.config.inChannels == 3
        let clip = calibration.clip
        guard clip != nil || (makesShapes && calibration.embeddings == nil && calibration.data == nil) else {
            return nil
        }
        let path = try clip ?? BundledWorld.bundledScorer()
        // The shipped one is named without its folder, so that the table does not depend on the installation.
        let name = clip ?? URL(fileURLWithPath: path).lastPathComponent
        let file = FileReference(path: name, sha256: try FileDigest.sha256(ofFile: path))
        return (try BundledWorld.scorer(path), file)
    }
}

/// The forecast of an analysis as JSON, in seconds and bytes.
private struct ForecastReport: Encodable {
    let candidates: Int
    let seconds, secondsBefore: Double
    let peakBytes, stateBytes: Int
    let sampled: Int

    init(_ forecast: SweepForecast) {
        candidates = forecast.candidates
        (seconds, secondsBefore) = (forecast.seconds + forecast.secondsBefore, forecast.secondsBefore)
        (peakBytes, stateBytes, sampled) = (forecast.peakBytes, forecast.stateBytes, forecast.sampled)
    }
}
