// SPDX-License-Identifier: Apache-2.0
// `bitsfusion analyze`: how sensitive the images are to each layer's width.

import ArgumentParser
import BitsFusion
import Foundation

struct AnalyzeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "analyze",
        abstract: "Measure how sensitive the images are to each layer's width.",
        discussion: """
            Quantizes one layer at a time to each width (balanced grid, alternating scale initialisation), fine-tunes it \
            alone where --qat-steps says so, and writes what that changes:

              images  the same images as the full-precision model makes: mean squared error and PSNR for pixels in \
            [0, 1] (latents: in units of the reference's range), and perceptual distance and CLIP drop where there is a \
            two-tower image-text model
              noise   the noise prediction at timesteps drawn from Beta(3, 1): E[(1 - a)/a |e - e_q|^2]. What lies before \
            the layer is computed once for all candidates
              fisher  the same, predicted for all candidates at once from gradients (--score fisher)

            The first and last convolution are measured at their fixed 8 bits. Every measurement is kept at once in \
            <output>.partial; --resume continues an interrupted analysis and ends with the same file. --shard shares an \
            analysis out over processes or machines; `bitsfusion merge` joins their tables.

            Examples:

              bitsfusion analyze shapes
              bitsfusion analyze shapes --qat-steps 20 --images 16
              bitsfusion analyze model.h5 --measure noise --embeddings e.safetensors --dry-run
              bitsfusion analyze shapes --score fisher -o fisher.json
              bitsfusion analyze model.h5 --embeddings e.safetensors --shard 2/8 -o part2.json
            """)

    @Argument(help: "A full-precision model file, or `shapes` for the shipped teacher.")
    var model: ModelReference

    @Option(name: .shortAndLong, help: "The table to write.")
    var output = "sensitivity.json"

    @Option(help: "Nominal widths to try every layer at, 1 to 8, separated by commas.")
    var bits = "1,2,3"

    @Option(
        help: """
            What to measure: images, noise, or both separated by a comma (default: both for models of up to 50 M \
            parameters, noise for larger ones; nothing with --score alone).
            """)
    var measure: MeasureList?

    @Option(help: "Predict the sensitivity of all candidates from gradients: fisher.")
    var score: DamageScore?

    @Option(
        help:
            "Images per measurement (default: 6, one of each family; all of --prompts or --embeddings).")
    var images: Int?

    @Option(help: "For noise, fisher and --qat-steps: noisy samples of each image (default: 4).")
    var timesteps: Int?

    @Option(help: "Steps that each candidate is fine-tuned for; 0: post-training quantization.")
    var qatSteps = 0

    @Option(help: "Learning rate of the weights in these steps (default: 1e-3; above 50 M parameters 1e-5).")
    var qatLearningRate: Float?

    @Option(help: "Learning rate of the scales in these steps (default: 1e-4; above 50 M parameters 1e-5).")
    var qatScaleLearningRate: Float?

    @Option(help: "Sampling steps per image.")
    var steps = 8

    @Option(
        help:
            "Height and width to analyze at, in the model's pixels or latents (default: those of its config)."
    )
    var size: Int?

    @Option(help: "Sampler: ddim, pndm or dpm++.")
    var sampler = SamplerKind.ddim

    @Option(help: "Classifier-free guidance; 1 turns it off.")
    var guidanceScale: Float = 3

    @Option(help: "Seed of prompts and noise.")
    var seed: UInt64 = 0

    @Option(help: "Measure only part K of N, written K/N, for `bitsfusion merge`.")
    var shard: SensitivityShard?

    @Option(
        help: "Gigabytes that activations before the layer at hand may take while they wait to be used again."
    )
    var memory = 2.0

    @Flag(help: "Measure a few candidates, print what the whole analysis would cost, and end.")
    var dryRun = false

    @Flag(help: "Continue an interrupted analysis.")
    var resume = false

    @Flag(help: "Start anew even if an interrupted analysis left measurements.")
    var overwrite = false

    @Option(
        help: """
            For models without text encoder: a safetensors file with encoder_hidden_states [N, T, D] and \
            negative_encoder_hidden_states.
            """)
    var embeddings: String?

    @Option(
        help: """
            A text file with a prompt on each line (default: captions of the shapes world); with --embeddings what each \
            row says, for --clip.
            """)
    var prompts: String?

    @Option(help: "A CLIP-proxy file (default: the shipped one, for models of the shapes world).")
    var clip: String?

    @Option(
        help: "Measure only layers whose path matches this regular expression; `allocate` needs all of them.")
    var layers: String?

    @Flag(help: "Print the whole table as JSON instead of the findings.")
    var json = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        _ = try widths()
        for (option, value, range) in [
            ("--images", images ?? 1, 1...100_000), ("--timesteps", timesteps ?? 1, 1...1000),
            ("--qat-steps", qatSteps, 0...1_000_000),
        ] where !range.contains(value) {
            throw ValidationError(
                "\(option): expected \(range.lowerBound) to \(range.upperBound), found \(value)")
        }
        for (option, rate) in [
            ("--qat-learning-rate", qatLearningRate), ("--qat-scale-learning-rate", qatScaleLearningRate),
        ] {
            if let rate, !(rate >= 0 && rate.isFinite) {
                throw ValidationError("\(option): expected 0 or more, found \(rate)")
            }
            if rate != nil && qatSteps == 0 {
                throw ValidationError("\(option): nothing is trained without --qat-steps")
            }
        }
        if qatSteps > 0 && measure == nil && score != nil {
            throw ValidationError("--qat-steps: a score is of untrained candidates; add --measure")
        }
        if timesteps != nil, qatSteps == 0, score == nil, measure?.kinds == [.images] {
            throw ValidationError(
                "--timesteps: whole trajectories have no use for it; it is for noise, fisher and --qat-steps")
        }
        if !(memory >= 0 && memory <= 1e6) {
            throw ValidationError("--memory: expected 0 to 1000000 gigabytes, found \(memory)")
        }
        if let size, !(1...1024).contains(size) {
            throw ValidationError("--size: expected 1 to 1024, found \(size)")
        }
        if steps < 1 { throw ValidationError("--steps: expected 1 or more, found \(steps)") }
        if !guidanceScale.isFinite {
            throw ValidationError("--guidance-scale: expected a finite number, found \(guidanceScale)")
        }
        if resume && overwrite { throw ValidationError("--resume and --overwrite exclude each other") }
        if clip != nil && embeddings != nil && prompts == nil {
            throw ValidationError(
                "--clip scores images against prompts; give those of the --embeddings with --prompts")
        }
    }

    func run() throws {
        common.apply()
        try Output.checkCanCreate(
            output, keeping: [model.path()] + [embeddings, prompts, clip].compactMap { $0 })
        let sweep = try makeSweep()
        if dryRun { return try showForecast(of: sweep) }
        if resume, let table = try finishedTable(of: sweep) {
            Output.warning("\(output) is finished already")
            return try show(table)
        }
        InterruptFlag.install()
        let url = URL(fileURLWithPath: output)
        var reporter: ProgressReporter?
        let table = try sweep.run(
            output: url, unfinished: resume ? .resumed : overwrite ? .overwritten : .refused,
            progress: { progress in
                let current =
                    reporter
                    ?? ProgressReporter(
                        "analyzing", total: progress.total, unit: "measurements", isQuiet: common.quiet,
                        first: progress.done)
                reporter = current
                current.update(
                    progress.done, note: progress.latest.map { "\($0.path) at \($0.width) bits" } ?? "")
            }, shouldStop: { InterruptFlag.isSet })
        reporter?.endLine()
        guard let table else {
            throw Interrupted(
                note: "measurements are kept in \(output).partial; continue with --resume")
        }
        for candidate in sweep.unusable {
            Output.warning(
                "\(candidate.path) at \(candidate.width) bits: what comes out is not finite; the table leaves this "
                    + "width out")
        }
        try show(table)
    }

    private func show(_ table: SensitivityTable) throws {
        guard !json else { return try Output.json(table) }
        SensitivityReport(table).print()
        Output.line("")
        Output.line(
            table.unlistedLayers.isEmpty
                ? "\(output); next: bitsfusion allocate \(output) --avg-bits 1.99"
                : "\(output): a part; next: bitsfusion merge it with the others")
    }

    private func showForecast(of sweep: SensitivitySweep) throws {
        InterruptFlag.install()
        guard let forecast = try sweep.forecast(shouldStop: { InterruptFlag.isSet }) else {
            throw Interrupted(note: "nothing was written")
        }
        if json { return try Output.json(ForecastReport(forecast)) }
        Output.line("candidates       \(forecast.candidates)")
        Output.line("expected time    \(ProgressReporter.time(forecast.seconds + forecast.secondsBefore))")
        Output.line("  before them    \(ProgressReporter.time(forecast.secondsBefore))")
        Output.line(
            String(
                format: "  per candidate  %.3f s on average", forecast.seconds / Double(forecast.candidates)))
        Output.line(
            String(
                format: "tensors at most  %.2f GB, %.2f GB of them activations that wait to be used again",
                Double(forecast.peakBytes) / 1e9, Double(forecast.stateBytes) / 1e9))
        Output.line("from \(forecast.sampled) candidates measured now; nothing was written")
    }

    /// The table that lies at the output already, where nothing is left to resume and it is this analysis's.
    private func finishedTable(of sweep: SensitivitySweep) throws -> SensitivityTable? {
        let url = URL(fileURLWithPath: output)
        let files = FileManager.default
        guard !files.fileExists(atPath: SensitivitySweep.journalPath(of: url)) else { return nil }
        if files.fileExists(atPath: output) {
            let table = try SensitivityTable.load(contentsOf: url)
            if sweep.isFinished(in: table) { return table }
            Output.warning("\(output) is of another analysis; starting anew")
        } else {
            Output.warning("\(output) was not begun yet; starting anew")
        }
        return nil
    }

    private func makeSweep() throws -> SensitivitySweep {
        let pipeline = try model.open()
        let subjects = try subjects(for: pipeline)
        let scorer = try scorer(for: pipeline)
        let reference = try model.fileReference()
        var inputs = [reference]
        if let embeddings = subjects.embeddings { inputs.append(embeddings) }
        if let scorer { inputs.append(scorer.file) }
        return try SensitivitySweep(
            pipeline: pipeline, model: reference, subjects: subjects, clip: scorer?.proxy,
            options: try options(for: pipeline),
            manifest: RunManifest(
                toolVersion: toolVersion, commandLine: Output.commandLine,
                seed: seed, inputs: inputs))
    }

    private func subjects(for pipeline: DiffusionPipeline) throws -> CalibrationSet {
        let prompts = try prompts.map(PromptFile.prompts)
        if let embeddings {
            return try CalibrationSet(
                embeddingsFile: embeddings, prompts: prompts ?? [], count: images, seed: seed,
                pipeline: pipeline)
        }
        if let prompts {
            return try CalibrationSet(prompts: prompts, count: images, seed: seed, pipeline: pipeline)
        }
        return try BundledWorld.calibrationSet(count: images, seed: seed, pipeline: pipeline)
    }

    private func options(for pipeline: DiffusionPipeline) throws -> SensitivityOptions {
        let isLarge = pipeline.isLarge
        var measures = measure?.kinds ?? (score != nil ? [] : isLarge ? [.noise] : [.images, .noise])
        if score != nil { measures.insert(.fisher) }
        return SensitivityOptions(
            widths: try widths(), measures: measures,
            generation: GenerationOptions(
                sampler: sampler, steps: steps, guidanceScale: guidanceScale,
                batchSize: isLarge ? 1 : GenerationOptions().batchSize, size: size),
            timestepsPerImage: timesteps ?? 4,
            tuning: LayerTuningOptions(
                steps: qatSteps, learningRate: qatLearningRate ?? (isLarge ? 1e-5 : 1e-3),
                scaleLearningRate: qatScaleLearningRate ?? (isLarge ? 1e-5 : 1e-4)),
            layerPattern: layers, shard: shard, memoryLimit: Int(memory * 1e9),
            checkpointing: isLarge ? .blocks : .none)
    }

    private func widths() throws -> [BitWidth] {
        try bits.split(separator: ",", omittingEmptySubsequences: false).map { text in
            let text = text.trimmingCharacters(in: .whitespaces)
            guard let width = Int(text).flatMap(BitWidth.init(rawValue:)) else {
                throw ValidationError(
                    "--bits: expected widths of 1 to 8 separated by commas, found \"\(bits)\"")
            }
            return width
        }
    }

    /// The CLIP-proxy that was given, or the shipped one where it can judge the model's images.
    private func scorer(for pipeline: DiffusionPipeline) throws -> (proxy: any PromptScorer, file: FileReference)? {
        let makesShapes = BundledWorld.covers(pipeline) && pipeline.denoiser.config.inChannels == 3
        guard clip != nil || (makesShapes && embeddings == nil) else { return nil }
        let path = try clip ?? BundledWorld.bundledScorer()
        // Named without its folder where it is the shipped one, so that the table does not depend on where that lies.
        let name = clip ?? URL(fileURLWithPath: path).lastPathComponent
        let file = FileReference(path: name, sha256: try FileDigest.sha256(ofFile: path))
        return (try BundledWorld.scorer(path), file)
    }
}

/// What an analysis will cost, for programs: seconds and bytes.
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
