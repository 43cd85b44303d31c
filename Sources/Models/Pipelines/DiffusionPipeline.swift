// SPDX-License-Identifier: Apache-2.0
// A model with everything that sampling needs: denoiser, noise schedule and, where there is one, text encoder.
// B batch, T tokens, D context size.

import Files
import Foundation
import Layers
import Networks
import Schedulers
import Tensors
import Tokenizers

/// A text-to-image model, or a denoiser alone, whose conditions are given as embeddings.
public final class DiffusionPipeline {
    public let denoiser: any Denoiser
    /// nil for an imported denoiser.
    public let textEncoder: CLIPTextModel?
    /// The tokenizer of the text encoder; nil where there is no text encoder, or its tokenizer is not registered.
    public let tokenizer: (any Tokenizer)?
    /// The name of the tokenizer, known or not; nil where there is no text encoder.
    public let tokenizerName: String?
    /// The diffusers `scheduler_config.json` that the model came with; nil: Stable Diffusion's options.
    public let schedulerJSON: String?

    /// A model of these parts.
    ///
    /// - Parameters:
    ///   - denoiser: the network that predicts noise.
    ///   - textEncoder: nil for a denoiser alone.
    ///   - tokenizerName: the text encoder's tokenizer; one that is not registered is kept by name only.
    ///   - schedulerJSON: the diffusers `scheduler_config.json` that the model came with.
    /// - Throws: `TokenizerError.length`, `.vocabulary` where tokenizer and text encoder do not belong together.
    public init(
        denoiser: any Denoiser, textEncoder: CLIPTextModel?, tokenizerName: String? = nil, schedulerJSON: String?
    ) throws {
        self.denoiser = denoiser
        self.textEncoder = textEncoder
        self.tokenizerName = tokenizerName
        tokenizer = try Self.tokenizer(tokenizerName, for: textEncoder)
        self.schedulerJSON = schedulerJSON
    }

    private static func tokenizer(_ name: String?, for encoder: CLIPTextModel?) throws -> (any Tokenizer)? {
        guard let name, let encoder, TokenizerRegistry.isRegistered(name) else { return nil }
        let tokenizer = try TokenizerRegistry.tokenizer(name, modelMaxLength: encoder.config.maxPositionEmbeddings)
        guard tokenizer.vocabSize == encoder.config.vocabSize else {
            throw TokenizerError.vocabulary(
                name: name, expected: tokenizer.vocabSize, found: encoder.config.vocabSize)
        }
        return tokenizer
    }

    /// The sampler that the model came with; PNDM, Stable Diffusion's, for a model without a scheduler config.
    ///
    /// - Throws: `ConfigError.inDocument` for a scheduler class that has no sampler here.
    public func defaultSampler() throws -> SamplerKind {
        try withScheduler { json throws(ConfigError) in try SamplerKind(json: json) } ?? .pndm
    }

    /// The options of a sampler of `kind` for this model. `clip_sample` and `steps_offset` are as the diffusers
    /// pipeline of the model sets them (see `SchedulerPipeline`).
    ///
    /// - Throws: `ConfigError.inDocument` for scheduler options that are not supported.
    public func samplerConfig(_ kind: SamplerKind) throws -> SamplerConfig {
        let pipeline = schedulerPipeline
        return try withScheduler { json throws(ConfigError) in
            try SamplerConfig(json: json, for: kind, in: pipeline)
        } ?? SamplerConfig()
    }

    /// The noise schedule that the model was trained with.
    ///
    /// - Throws: `ConfigError.inDocument` for a noise schedule that is not supported.
    public func noiseSchedule() throws -> NoiseSchedule {
        try withScheduler { json throws(ConfigError) in try NoiseSchedule(schedulerJSON: json) } ?? NoiseSchedule()
    }

    /// Latent models with a text encoder are run by `StableDiffusionPipeline`, with added conditions by
    /// `StableDiffusionXLPipeline`.
    private var schedulerPipeline: SchedulerPipeline {
        let config = denoiser.config
        guard config.isLatent, config.usesCrossAttention else { return .other }
        return config.addedConditionsType == nil ? .stableDiffusion : .stableDiffusionXL
    }

    /// The result of `read` for the scheduler config; nil where there is none.
    private func withScheduler<Value>(_ read: (Data) throws(ConfigError) -> Value) throws(ConfigError) -> Value? {
        guard let schedulerJSON else { return nil }
        do {
            return try read(Data(schedulerJSON.utf8))
        } catch {
            throw .inDocument("scheduler_config.json", error)
        }
    }

    /// Makes no parameter trainable.
    public func freeze() { for component in components { component.store.setTrainable(false) } }

    /// `[B, C, H, W]` for `batch` samples of `size` x `size`; nil: the model's own size.
    public func sampleShape(batch: Int, size: Int? = nil) -> [Int] {
        denoiser.config.sampleShape(batch: batch, size: size)
    }
}
