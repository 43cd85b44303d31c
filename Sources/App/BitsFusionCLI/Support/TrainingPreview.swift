// SPDX-License-Identifier: Apache-2.0
// Images of a model in training: the same prompts and seeds each time. Sampling draws its own random numbers and keeps
// no gradients, so that training does not depend on it.

import BitsFusion
import Foundation

/// Samples a model in its current state.
struct TrainingPreview {
    private let pipeline: DiffusionPipeline
    /// The name of the model's file, for messages.
    private let name: String
    /// Texts, which are encoded each time, since a text encoder may be in training; empty with embeddings.
    private let prompts: [String]
    private let embeddings: PromptEmbeddings?
    private let options: GenerationOptions
    private let seed: UInt64

    private static let defaultSteps = 20

    /// Images of each prompt, with consecutive seeds.
    private var perPrompt: Int { pipeline.isLarge ? 1 : 2 }

    /// Checks everything that can be checked before the first image.
    ///
    /// - Parameters:
    ///   - arguments: prompts or embeddings, and steps.
    ///   - pipeline: the model in training.
    ///   - name: its file, for messages.
    ///   - size: the size of samples; nil for the model's own.
    ///   - seed: of the first image of each prompt.
    /// - Throws: `CommandError`; what reading prompts or embeddings and the sampler's options throw.
    init(
        _ arguments: PreviewOptions, of pipeline: DiffusionPipeline, named name: String, size: SampleSize?, seed: UInt64
    ) throws {
        (self.pipeline, self.name, self.seed) = (pipeline, name, seed)
        let config = pipeline.denoiser.config
        guard config.conditionChannels == 0 else {
            throw CommandError(
                .usage, "\(name): --preview-every: not for models that change an image; remove it")
        }
        let file = arguments.previewEmbeddings
        embeddings = try file.map { path in
            try addingFile(path) { try PromptEmbeddings(embeddings: path, config: config) }
        }
        prompts = file == nil ? try Self.prompts(arguments, for: pipeline, named: name) : []
        // Models of scheduler classes without a sampler here are sampled with another one.
        let sampler = (try? pipeline.defaultSampler()) ?? .ddim
        options = GenerationOptions(
            sampler: sampler, steps: arguments.previewSteps ?? Self.defaultSteps,
            guidanceScale: StagedPipeline.guidanceScale(nil, for: config), batchSize: pipeline.isLarge ? 1 : 8,
            size: size, randomNumbers: config.isLatent ? .torch : .philox)
        try addingFile(name) {
            _ = try pipeline.samplerConfig(sampler).sampler(sampler, steps: options.steps)
            let conditions = try conditions()
            try conditions.validate(for: config, size: size)
        }
    }

    private static func prompts(
        _ arguments: PreviewOptions, for pipeline: DiffusionPipeline, named name: String
    ) throws -> [String] {
        guard !pipeline.textEncoders.isEmpty else {
            throw CommandError(
                .usage,
                "\(name): --preview-embeddings: missing, but required for models without a text encoder; add it")
        }
        guard let path = arguments.previewPrompts else {
            if let bundled = BundledWorld.previewPrompts(for: pipeline) { return bundled }
            throw CommandError(
                .usage,
                "\(name): --preview-prompts: missing, but required for models without bundled prompts; give a file "
                    + "with one prompt per line")
        }
        let prompts = try PromptFile.prompts(at: path)
        try StagedPipeline.warnOfTruncation(prompts, by: PromptEncoder(pipeline), option: "--preview-prompts")
        return prompts
    }

    /// One condition per image.
    private func conditions() throws -> PromptEmbeddings {
        if let embeddings { return embeddings }
        let size = pipeline.imageSize(of: options.size)
        // Text encoders are used rarely: their panels would only take memory from the training.
        return try withoutPanelCache {
            try PromptEncoder(pipeline).embeddings(prompts, options: PromptOptions(imageSize: size))
        }.repeated(perPrompt)
    }

    private func seeds(_ count: Int) -> [UInt64] {
        (0..<count).map { seed &+ UInt64(embeddings == nil ? $0 % perPrompt : $0) }
    }

    /// Samples and draws the grid: a row for each prompt; nil for samples that are not finite.
    ///
    /// - Throws: what sampling throws; `Interrupted` after a signal.
    func image() throws -> RGBImage? {
        let conditions = try conditions()
        let samples = try pipeline.generate(conditions, seeds: seeds(conditions.count), options: options) { _ in
            try InterruptFlag.check()
        }
        guard samples.isFinite else { return nil }
        let columns = embeddings == nil ? perPrompt : 4
        return grid(of: try images(of: samples), columns: columns, prompts: prompts).render()
    }

    /// Decoded by the VAE; latents of a model without one in false colors.
    private func images(of samples: Tensor) throws -> [RGBImage] {
        guard pipeline.denoiser.config.isLatent else { return BitsFusionCLI.images(samples) }
        guard pipeline.vae != nil else { return latentPreview(samples) }
        return try (0..<samples.shape[0]).map { index in
            try InterruptFlag.check()
            return decoded(samples.sliced(axis: 0, index..<index + 1))
        }
    }

    private func decoded(_ latents: Tensor) -> RGBImage {
        guard let vae = pipeline.vae else { return latentPreview(latents)[0] }
        return BitsFusionCLI.images(withoutGradients { vae.decode(vae.config.unscaledLatents(latents)) })[0]
    }

    // MARK: Forecast

    private struct Measured: Error {}

    /// The seconds of a preview: two predictions of the first batch are timed after one that does not count, and the
    /// decoding of one image.
    ///
    /// - Throws: as `image()`.
    func forecastSeconds() throws -> Double {
        let clock = ContinuousClock()
        let conditions = try conditions()
        var times: [(share: Double, at: ContinuousClock.Instant)] = []
        do {
            _ = try pipeline.generate(conditions, seeds: seeds(conditions.count), options: options) { share in
                try InterruptFlag.check()
                times.append((share, clock.now))
                if times.count == 3 { throw Measured() }
            }
        } catch is Measured {
            // Enough predictions are measured.
        }
        var seconds = 0.0
        if let first = times.first, let last = times.last, last.share > first.share {
            seconds = (last.at - first.at) / .seconds(1) / (last.share - first.share)
        }
        if pipeline.vae != nil, pipeline.denoiser.config.isLatent {
            let start = clock.now
            _ = decoded(.zeros(pipeline.sampleShape(batch: 1, size: options.size)))
            seconds += Double(conditions.count) * ((clock.now - start) / .seconds(1))
        }
        return seconds
    }
}
