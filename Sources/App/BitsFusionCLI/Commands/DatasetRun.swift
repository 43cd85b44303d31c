// SPDX-License-Identifier: Apache-2.0
// One run of `bitsfusion dataset`.

import BitsFusion
import Foundation

struct DatasetRun {
    private let command: DatasetCommand
    private let model: StagedPipeline
    private let config: any DenoiserConfig
    private let encoder: PromptEncoder
    private var name: String { command.main.model.name }
    private var output: String { command.main.output }
    private var communicator: any Communicator { Processes.communicator }

    init(_ command: DatasetCommand) throws {
        self.command = command
        let output = command.main.output
        let inputs = try [command.main.model.path(), command.images, command.synthesis.synthesize].compactMap { $0 }
        if Processes.communicator.isFirst {
            try Output.checkCanCreate(output, keeping: inputs)
            for path in [LatentSetLog.folder(of: output), Self.skippedList(of: output)] {
                try Output.checkIsNoInput(path, keeping: inputs)
            }
        }
        try Processes.agree(onArgumentsAnd: [command.main.model.path()])
        model = try StagedPipeline(command.main.model, activations: .float32)
        config = try model.config()
        guard model.reader.textEncoder != nil else {
            throw CommandError(.badData, "\(model.name): no text encoder; import the whole pipeline folder")
        }
        encoder = try model.promptEncoder()
    }

    func run() throws {
        if let images = command.images { try encode(images) }
        if let prompts = command.synthesis.synthesize { try synthesize(prompts) }
    }

    // MARK: Images

    private func encode(_ path: String) throws {
        let options = command.preparation
        let source = try openImageText(path, captionColumn: options.captionColumn ?? "text")
        for omitted in source.omitted {
            Output.warning("\(path): \(omitted.count) \(omitted.reason), such as \(omitted.example); not in the set")
        }
        let vae = try self.vae()
        let resolution = try resolution(vae)
        let buckets = try self.buckets(resolution, vae)
        var settings = try self.settings(source: imageTextDigest(path), vae: vae)
        settings.options = [
            "resolution": "\(resolution)", "aspectBuckets": "\(options.aspectBuckets)",
            "bucketStep": "\(options.aspectBuckets ? bucketStep(vae) : 0)",
            "captionColumn": options.captionColumn ?? "text", "seed": "\(command.main.seed)",
        ]
        try Processes.agree(on: [("settings", try settings.json())])
        guard let log = try open(settings, block: 1) else { return }
        let images = try addingFile(name) {
            try ImageLatents(source, buckets: buckets, vae: vae, for: config, seed: command.main.seed)
        }
        let progress = ProgressReporter(
            "encoding", total: source.count, unit: "images", isQuiet: command.common.quiet, first: log.file?.count ?? 0)
        var truncated = 0
        func update(_ done: Int) {
            let skipped = log.file?.skipped.count ?? 0
            progress.update(done, note: skipped == 0 ? "" : "\(skipped) skipped")
        }
        let workers = options.workers ?? max(Threads.count / 2, 1)
        let checkCaption = { (caption: String) in
            if try encoder.truncatedText(caption) != nil { truncated += 1 }
        }
        try unlessInterrupted(log, of: source.count) {
            try addingFile(path) {
                try images.encode(
                    into: log.file, workers: workers, skipLimit: options.skipLimit ?? 100, communicator: communicator,
                    checkCaption: checkCaption, interruption: InterruptFlag.check, progress: update)
            }
        }
        progress.endLine()
        var counts = [Int64(truncated)]
        try communicator.sum(&counts)
        if counts[0] > 0 {
            Output.warning("\(path): \(counts[0]) captions have more than 75 tokens; the text encoder ignores the rest")
        }
        guard let file = log.file else { return }
        try finish(file, settings, inputs: [])
        try reportSkipped(file)
    }

    private func vae() throws -> AutoencoderKL? {
        guard config.isLatent else { return nil }
        let vae = try addingFile(name) { try AutoencoderKL(in: model.reader, precision: .keep16Bit) }
        guard let vae, vae.parts != .decoder else {
            throw CommandError(
                .badData,
                "\(name): the encoder of the VAE: missing; import the whole pipeline, and pack it without "
                    + "--no-vae-encoder")
        }
        vae.store.setTrainable(false)
        vae.store.setActivations(.float32)
        return vae
    }

    /// Latents are halved by the denoiser; multiples of 64 pixels suit all Stable Diffusion models.
    private func bucketStep(_ vae: AutoencoderKL?) -> Int {
        command.preparation.bucketStep ?? 8 * (vae?.config.vaeScaleFactor ?? 1)
    }

    private func resolution(_ vae: AutoencoderKL?) throws -> Int {
        let factor = vae?.config.vaeScaleFactor ?? 1
        guard let resolution = command.preparation.resolution else {
            let own = config.sampleShape(batch: 1)
            return min(own[2], own[3]) * factor
        }
        guard resolution % factor == 0 else {
            throw CommandError(.usage, "--resolution: expected a multiple of \(factor), found \(resolution)")
        }
        return resolution
    }

    private func buckets(_ resolution: Int, _ vae: AutoencoderKL?) throws -> AspectBuckets {
        guard command.preparation.aspectBuckets else {
            return AspectBuckets(BucketSize(height: resolution, width: resolution))
        }
        let (step, factor) = (bucketStep(vae), vae?.config.vaeScaleFactor ?? 1)
        guard step % factor == 0, step <= resolution else {
            throw CommandError(
                .usage,
                "--bucket-step: expected a multiple of \(factor) up to the resolution, \(resolution), found \(step)")
        }
        return AspectBuckets(resolution: resolution, step: step)
    }

    private static func skippedList(of output: String) -> String {
        PathParts(output).sibling(PathParts(output).stem + ".skipped.tsv")
    }

    private func reportSkipped(_ log: LatentSetLog) throws {
        guard !log.skipped.isEmpty else { return }
        let list = Self.skippedList(of: output)
        try AtomicFile.write(log.skipped.map { "\($0.key)\t\($0.reason)\n" }.joined(), to: list)
        Output.warning("\(log.skipped.count) samples skipped, listed in \(list); the first: \(log.skipped[0].reason)")
    }

    // MARK: Synthesis

    private func synthesize(_ path: String) throws {
        let options = command.synthesis
        let prompts = try PromptFile.records(at: path).map(\.text)
        try StagedPipeline.warnOfTruncation(prompts, by: encoder, option: path)
        let pipeline = try model.denoiser()
        let steps = options.steps ?? pipeline.denoiser.timeFeatures?.timesteps.count ?? 50
        let generation = GenerationOptions(
            sampler: try options.sampler ?? model.ownSampler(pipeline, steps: steps), steps: steps,
            guidanceScale: StagedPipeline.guidanceScale(options.guidanceScale, for: config),
            batchSize: options.batchSize ?? (pipeline.isLarge ? 1 : 8),
            randomNumbers: config.isLatent ? .torch : .philox)
        let teacher = try addingFile(name) {
            try TeacherLatents(
                pipeline, prompts: prompts, imagesPerPrompt: options.count ?? 1, firstSeed: command.main.seed,
                options: generation, trajectoryStates: options.trajectoryStates ?? 0)
        }
        var settings = try self.settings(source: FileDigest.sha256(ofFile: path), vae: nil)
        settings.trajectoryTimesteps = try teacher.trajectoryTimesteps()
        settings.options = [
            "count": "\(options.count ?? 1)", "sampler": generation.sampler.rawValue, "steps": "\(steps)",
            "guidanceScale": "\(generation.guidanceScale)", "batchSize": "\(generation.batchSize)",
            "seed": "\(command.main.seed)",
        ]
        try Processes.agree(on: [("settings", try settings.json())])
        guard let log = try open(settings, block: generation.batchSize, total: teacher.count) else { return }
        let progress = ProgressReporter(
            "sampling", total: teacher.count, unit: "samples", isQuiet: command.common.quiet,
            first: log.file?.count ?? 0)
        let size = try model.imageSize(of: nil)
        try unlessInterrupted(log, of: teacher.count) {
            try addingFile(name) {
                try teacher.sample(
                    into: log.file, communicator: communicator,
                    embeddings: { try encoder.embeddings($0, options: PromptOptions(imageSize: size)) },
                    interruption: InterruptFlag.check, progress: { progress.update(Int($0)) })
            }
        }
        progress.endLine()
        guard let file = log.file else { return }
        try finish(file, settings, inputs: [path])
    }

    // MARK: Output

    private func settings(source: String, vae: AutoencoderKL?) throws -> LatentSetSettings {
        LatentSetSettings(
            model: try command.main.model.fileReference().sha256, source: source,
            textEncoders: encoder.encoders.map(\.name), scalingFactor: vae?.config.scalingFactor ?? 1,
            shiftFactor: vae?.config.shiftFactor ?? 0, conditionChannels: config.conditionChannels, options: [:])
    }

    /// The samples so far, which the first process writes.
    private struct Log {
        /// nil in the other processes.
        var file: LatentSetLog?
    }

    /// Opens the samples so far in the first process.
    ///
    /// - Returns: nil if the set is complete, in all processes.
    private func open(_ settings: LatentSetSettings, block: Int, total: Int? = nil) throws -> Log? {
        let file = communicator.isFirst ? try openedLog(settings, block: block, total: total) : nil
        return try communicator.any(file != nil) ? Log(file: file) : nil
    }

    /// Runs `body`; after a signal, the first process says what is saved.
    ///
    /// - Throws: what `body` throws; `Interrupted`.
    private func unlessInterrupted(_ log: Log, of total: Int, _ body: () throws -> Void) throws {
        do {
            try body()
        } catch  where InterruptFlag.isSet && (error is Interrupted || error is PeerFailure) {
            try log.file?.sync()
            throw interrupted(log.file?.count ?? 0, of: total)
        }
    }

    /// The samples so far; nil if the set is complete.
    private func openedLog(_ settings: LatentSetSettings, block: Int, total: Int?) throws -> LatentSetLog? {
        let exists = FileManager.default.fileExists(atPath: output)
        let saved = try LatentSetLog.savedSettings(of: output)
        let saving = command.saving
        if saving.overwrite {
            try LatentSetLog.remove(of: output)
        } else if exists, saved == nil, saving.resume {
            try check(LatentSetReader(output).settings, settings)
            Output.line("\(output): already finished")
            return nil
        } else if exists, saved == nil {
            throw CommandError(
                .usage, "\(output): exists already; pass --overwrite to replace it, or choose another --output")
        } else if let saved {
            guard saving.resume else {
                throw CommandError(
                    .usage,
                    "\(output): an interrupted run is in \(LatentSetLog.folder(of: output)); pass --resume to continue "
                        + "it, or --overwrite to start from scratch")
            }
            try check(JSONDecoder().decode(LatentSetSettings.self, from: Data(saved.utf8)), settings)
        } else if saving.resume {
            Output.warning("--resume: \(output) does not exist; starting from scratch")
        }
        return try LatentSetLog(of: output, settings: settings, block: block, total: total)
    }

    private func check(_ saved: LatentSetSettings, _ requested: LatentSetSettings) throws {
        let differences = try SettingDifference.between(saved, requested)
        guard !differences.isEmpty else { return }
        throw CommandError(
            .usage,
            "\(output): made with \(SettingDifference.listed(differences)); use the same settings, or start from "
                + "scratch with --overwrite")
    }

    private func interrupted(_ done: Int, of total: Int) -> Interrupted {
        // Several processes end with the same line, which is printed once.
        if communicator.size > 1 {
            return Interrupted(
                note: "samples are saved in \(LatentSetLog.folder(of: output)); continue with --resume")
        }
        return Interrupted(
            note: "\(done) of \(total) samples saved in \(LatentSetLog.folder(of: output)); continue with --resume")
    }

    private func finish(_ log: LatentSetLog, _ settings: LatentSetSettings, inputs: [String]) throws {
        let manifest = try Output.manifest(models: [command.main.model], inputs: inputs, seed: command.main.seed)
        try log.write(
            to: output, settings: settings, manifest: manifest.json(), tokenIDs: encoder.tokenIDs,
            progress: { _ in
                if InterruptFlag.isSet { throw interrupted(log.count, of: log.count) }
            })
        try LatentSetLog.remove(of: output)
        let set = try LatentSetReader(output)
        let sizes = set.groups.map { "\($0.count) of \($0.height)x\($0.width)" }.joined(separator: ", ")
        Output.line(
            "\(output): \(set.count) samples, latents \(sizes), \(set.captionCount) captions"
                + (log.skipped.isEmpty ? "" : ", \(log.skipped.count) skipped"))
    }
}
