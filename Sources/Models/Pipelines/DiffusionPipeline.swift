// SPDX-License-Identifier: Apache-2.0
// A model with everything that sampling needs: denoiser, noise schedule and, where there are any, text encoders and
// autoencoder. B batch, T tokens, D context size.

import Checkpoints
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
    /// In the order of diffusers' pipelines; empty for an imported denoiser.
    public let textEncoders: [TextEncoder]
    /// The autoencoder of a latent model; nil for pixel-space models and for an imported denoiser.
    public let vae: AutoencoderKL?
    /// The diffusers `scheduler_config.json` that the model came with; nil: Stable Diffusion's options.
    public let schedulerJSON: String?
    /// The diffusers `model_index.json` that the model came with.
    public let modelIndexJSON: String?

    /// A model of these parts.
    ///
    /// - Parameters:
    ///   - denoiser: the network that predicts noise.
    ///   - textEncoders: in the order of diffusers' pipelines; empty for a denoiser alone.
    ///   - vae: the autoencoder of a latent model.
    ///   - schedulerJSON: the diffusers `scheduler_config.json` that the model came with.
    ///   - modelIndexJSON: the diffusers `model_index.json` that the model came with.
    /// - Throws: `PipelineError.crossAttentionDim` for text encoders of another denoiser.
    public init(
        denoiser: any Denoiser, textEncoders: [TextEncoder] = [], vae: AutoencoderKL? = nil, schedulerJSON: String?,
        modelIndexJSON: String? = nil
    ) throws {
        self.denoiser = denoiser
        self.textEncoders = textEncoders
        self.vae = vae
        self.schedulerJSON = schedulerJSON
        self.modelIndexJSON = modelIndexJSON
        let config = denoiser.config
        let hiddenSize = textEncoders.reduce(0) { $0 + $1.config.hiddenSize }
        guard textEncoders.isEmpty || !config.usesCrossAttention || config.contextSize == hiddenSize else {
            throw PipelineError.crossAttentionDim(expected: config.contextSize, found: hiddenSize)
        }
    }

    /// A model with one text encoder, whose tokenizer is registered by name, or without one.
    ///
    /// - Throws: as above; `TokenizerError.length`, `.vocabulary` where tokenizer and text encoder do not belong
    ///   together.
    public convenience init(
        denoiser: any Denoiser, textEncoder: CLIPTextModel?, tokenizerName: String? = nil, schedulerJSON: String?
    ) throws {
        try self.init(
            denoiser: denoiser,
            textEncoders: textEncoder.map { [try TextEncoder($0, tokenizerName: tokenizerName ?? "")] } ?? [],
            schedulerJSON: schedulerJSON)
    }

    /// The first text encoder; nil for an imported denoiser.
    public var textEncoder: CLIPTextModel? { textEncoders.first?.model }

    /// The tokenizer of the first text encoder; nil where there is no text encoder, or its tokenizer is not registered.
    public var tokenizer: (any Tokenizer)? { textEncoders.first?.tokenizer }

    /// The name of the tokenizer, registered or not; nil where there is no text encoder.
    public var tokenizerName: String? { textEncoders.first?.tokenizerName }

    /// The sampler that the model came with; PNDM, Stable Diffusion's, for a model without a scheduler config.
    ///
    /// - Throws: `ConfigError.inDocument` for a scheduler class that has no sampler here.
    public func defaultSampler() throws -> SamplerKind {
        try withScheduler { json throws(ConfigError) in try SamplerKind(json: json) } ?? .pndm
    }

    /// The sampler to use in `steps` steps: the one that the model came with, or, of a packed model with cached time
    /// features for other timesteps, the first one whose timesteps are cached.
    ///
    /// - Throws: `ConfigError.inDocument` for a scheduler class that has no sampler here.
    public func defaultSampler(steps: Int) throws -> SamplerKind {
        let own = try defaultSampler()
        guard let table = denoiser.timeFeatures else { return own }
        let kinds = [own] + SamplerKind.allCases
        return kinds.first { kind in
            guard let timesteps = try? samplerTimesteps([kind], steps: steps) else { return false }
            return (try? table.validate(timesteps: timesteps)) != nil
        } ?? own
    }

    /// The options of a sampler of `kind` for this model. `clip_sample` and `steps_offset` are as the diffusers
    /// pipeline of the model sets them (see `SchedulerPipeline`).
    ///
    /// - Throws: `ConfigError.inDocument` for scheduler options that are not supported.
    public func samplerConfig(_ kind: SamplerKind) throws -> SamplerConfig {
        let pipeline = SchedulerPipeline(for: denoiser.config)
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

    /// `[B, C, H, W]` for `batch` samples of `size`; nil: the model's own size.
    public func sampleShape(batch: Int, size: SampleSize? = nil) -> [Int] {
        denoiser.config.sampleShape(batch: batch, size: size)
    }

    /// The size of images in pixels for samples of `size`; nil: the model's own size.
    public func imageSize(of size: SampleSize? = nil) -> SampleSize {
        let shape = sampleShape(batch: 1, size: size)
        let factor = vaeScaleFactor
        return SampleSize(height: shape[2] * factor, width: shape[3] * factor)
    }

    /// Pixels per latent position along each axis; 1 for pixel-space models.
    public var vaeScaleFactor: Int {
        denoiser.config.isLatent ? vae?.config.vaeScaleFactor ?? 8 : 1
    }
}
