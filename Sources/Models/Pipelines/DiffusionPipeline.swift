// SPDX-License-Identifier: Apache-2.0
// A model with everything that it takes to make images: UNet, noise schedule and, where there is one, text encoder.
// B batch, T tokens, D context width.

import Foundation
import Layers
import Networks
import Schedulers
import Tensors
import Tokenizers

/// A text-to-image model, or a UNet on its own whose conditions come as embeddings.
public final class DiffusionPipeline {
    public let unet: UNet2DConditionModel
    /// nil for an imported UNet.
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
    ///   - unet: the denoiser.
    ///   - textEncoder: nil for a UNet on its own.
    ///   - tokenizerName: the text encoder's tokenizer; one that is not registered is kept by name only.
    ///   - schedulerJSON: the diffusers `scheduler_config.json` that the model came with.
    /// - Throws: `TokenizerError.length`, `.vocabulary` where tokenizer and text encoder do not belong together.
    public init(
        unet: UNet2DConditionModel, textEncoder: CLIPTextModel?, tokenizerName: String? = nil, schedulerJSON: String?
    ) throws {
        self.unet = unet
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

    /// The options of a sampler of `kind` for this model.
    ///
    /// - Throws: `ConfigError` for scheduler options that are not supported.
    public func samplerConfig(_ kind: SamplerKind) throws -> SamplerConfig {
        guard let schedulerJSON else { return SamplerConfig() }
        return try SamplerConfig(json: Data(schedulerJSON.utf8), for: kind)
    }

    /// The noise schedule that the model was trained with.
    ///
    /// - Throws: `ConfigError` for scheduler options that are not supported.
    public func noiseSchedule() throws -> NoiseSchedule { try samplerConfig(.ddim).schedule }

    /// Every parameter of UNet and text encoder.
    public var stores: [ParameterStore] { [unet.store] + (textEncoder.map { [$0.store] } ?? []) }

    /// Keeps everything off the tape.
    public func freeze() { for store in stores { store.setTrainable(false) } }

    /// `[B, C, H, W]` of one sample of this model for `batch` images of `size`; nil: the model's own.
    public func sampleShape(batch: Int, size: Int? = nil) -> [Int] {
        if let size { return [batch, unet.config.inChannels, size, size] }
        // A config without sample_size leaves the size open; Stable Diffusion's is what its users expect then.
        let size = unet.config.sampleSize
        return [batch, unet.config.inChannels, size?.height ?? 64, size?.width ?? 64]
    }
}
