// SPDX-License-Identifier: Apache-2.0
// A model file whose text encoders, denoiser and VAE are opened one after the other, so that memory holds no more than
// the current step needs. Defaults of sampling are those of diffusers' pipelines.

import BitsFusion
import Foundation

struct StagedPipeline {
    let reader: CheckpointReader
    /// The name on the command line, for messages.
    let name: String
    let activations: ActivationType

    /// Opens the file of `model`; no parameters are read.
    ///
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`, `ShippedModelError`.
    init(_ model: ModelReference, activations: ActivationType) throws {
        reader = try CheckpointReader(model.path())
        name = model.name
        self.activations = activations
    }

    /// Whether the file has an autoencoder.
    var hasVAE: Bool { reader.header.configs[CheckpointHeader.vae] != nil }

    /// The denoiser's config.
    ///
    /// - Throws: `CommandError`.
    func config() throws -> any DenoiserConfig { try DenoiserRegistry.config(of: reader, named: name) }

    /// The autoencoder's config; nil without one.
    ///
    /// - Throws: `CommandError`.
    func vaeConfig() throws -> AutoencoderKLConfig? { try addingFile(name) { try AutoencoderKLConfig(in: reader) } }

    /// Opens the text encoders.
    ///
    /// - Throws: as `PromptEncoder.init(_:precision:)`.
    func promptEncoder() throws -> PromptEncoder {
        let encoder = try addingFile(name) { try PromptEncoder(reader) }
        encoder.setActivations(activations)
        return encoder
    }

    /// Opens the denoiser.
    ///
    /// - Throws: as `DiffusionPipeline.init(_:precision:denoiserOnly:)`.
    func denoiser() throws -> DiffusionPipeline {
        let pipeline = try addingFile(name) {
            try DiffusionPipeline(reader, precision: .keep16Bit, denoiserOnly: true)
        }
        pipeline.freeze()
        pipeline.activations = activations
        return pipeline
    }

    /// The LoRAs, for `LoRABranches.attach`. All of their layers are checked.
    ///
    /// - Throws: `LoRAError`, `FileError`, `SafetensorsError`; `CommandError` for wrong weights.
    func branches(_ loras: [LoRAReference]) throws -> LoRABranches {
        guard !loras.isEmpty else { return LoRABranches() }
        for lora in loras { try lora.check() }
        var components = [reader.header.component: try config().skeleton().store]
        for name in TextEncoder.names {
            components[name] = try addingFile(self.name) { try TextEncoder(skeleton: name, in: reader)?.store }
        }
        return try LoRABranches(loras.map { try LoRA($0.path, weight: $0.weight) }, components: components)
    }

    /// Opens the decoder of the autoencoder; nil without one.
    ///
    /// - Throws: as `AutoencoderKL.init(in:decoderOnly:precision:)`.
    func decoder() throws -> AutoencoderKL? {
        let vae = try addingFile(name) { try AutoencoderKL(in: reader, decoderOnly: true, precision: .keep16Bit) }
        // Images show the quantization of activations: at int8 they would have about 38 instead of 41 dB.
        vae?.store.setActivations(.float32)
        return vae
    }

    /// The size of images in pixels for samples of `size`; nil: the model's own size.
    ///
    /// - Throws: `CommandError`.
    func imageSize(of size: SampleSize?) throws -> SampleSize {
        let sample = try size ?? config().sampleSize ?? SampleSize(height: 64, width: 64)
        let factor = try vaeConfig()?.vaeScaleFactor ?? 1
        return SampleSize(height: sample.height * factor, width: sample.width * factor)
    }

    /// Runs `generate`, which samples with the open denoiser, and checks the samples.
    ///
    /// - Parameters:
    ///   - inputsFile: the file of the given latents, for messages.
    ///   - generate: returns nil in processes that do not get the samples.
    /// - Returns: what `generate` returns.
    /// - Throws: what `generate` throws; `CommandError` for samples that are not finite.
    func checked<Samples>(from inputsFile: String? = nil, _ generate: () throws -> Samples) throws -> Samples {
        let samples = try addingFile(name) {
            do {
                return try generate()
            } catch let error as PipelineError {
                // The model's own shapes were checked before: those of the inputs are wrong.
                throw CommandError(error.category, "\(inputsFile ?? name): \(error)")
            }
        }
        if let tensor = samples as? Tensor, !tensor.isFinite {
            throw CommandError(
                .badData, "\(name): samples: not finite; use a smaller --guidance-scale, or another model")
        }
        return samples
    }

    /// Checks that a file with cached time features has those of all timesteps, before any network is opened.
    ///
    /// - Throws: `CommandError`, with the numbers of steps that can be used.
    func checkSteps(_ steps: Int?, sampler: SamplerKind?) throws {
        guard let stored = try reader.timeFeatures() else { return }
        let cache = TimeFeatureTable(timesteps: stored.timesteps, features: stored.features)
        let skeleton = try DiffusionPipeline(
            denoiser: config().skeleton(), schedulerJSON: reader.header.scheduler)
        // As `ownSampler` chooses; a scheduler without a sampler is reported there.
        guard let first = sampler ?? (try? skeleton.defaultSampler()) else { return }
        let kinds = sampler == nil ? [first] + SamplerKind.allCases : [first]
        func isCached(_ kind: SamplerKind, _ steps: Int) -> Bool {
            guard let timesteps = try? skeleton.samplerTimesteps([kind], steps: steps) else { return false }
            return (try? cache.validate(timesteps: timesteps)) != nil
        }
        let wanted = steps ?? cache.timesteps.count
        guard !kinds.contains(where: { isCached($0, wanted) }) else { return }
        try addingFile(name) {
            let timesteps = try skeleton.samplerTimesteps([first], steps: wanted)
            let cached = Set(cache.timesteps)
            guard let missing = timesteps.first(where: { !cached.contains($0) }) else { return }
            throw TimeFeatureError.timestepNotCached(
                timestep: missing, cached: cached.sorted(),
                steps: (1...cached.count).filter { steps in kinds.contains { isCached($0, steps) } })
        }
    }

    /// The sampler of the model itself.
    ///
    /// - Throws: `CommandError` for a scheduler class that has no sampler here.
    func ownSampler(_ pipeline: DiffusionPipeline, steps: Int) throws -> SamplerKind {
        do {
            return try pipeline.defaultSampler(steps: steps)
        } catch let error as ConfigError {
            throw CommandError(error.category, "\(name): \(error); choose one with --sampler")
        }
    }

    /// The default guidance scale. diffusers' pipelines guide latent models above a scale of 1 only.
    static func guidanceScale(_ scale: Float?, hasMask: Bool = false, for config: any DenoiserConfig) -> Float {
        guard config.isLatent else { return scale ?? 3 }
        return max(scale ?? (config.addedConditionsType == nil || hasMask ? 7.5 : 5), 1)
    }

    /// Warns of prompts with more tokens than the text encoders see.
    ///
    /// - Throws: as `PromptEncoder.truncatedText(_:)`.
    static func warnOfTruncation(_ prompts: some Sequence<String>, by encoder: PromptEncoder, option: String) throws {
        for prompt in Set(prompts).sorted() {
            if let text = try encoder.truncatedText(prompt) {
                Output.warning("\(option): more than 75 tokens; the text encoder does not see the end: \"\(text)\"")
            }
        }
    }
}
