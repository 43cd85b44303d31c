// SPDX-License-Identifier: Apache-2.0
// Errors of pipelines.

import Files
import Foundation

/// A request that the model does not support.
public enum PipelineError: Error, Equatable, Sendable {
    /// Prompts for a model without a text encoder.
    case noTextEncoder
    /// A model whose time layers do not give the features that are cached in the file `packed`. `difference` is that of
    /// the residual block `block`, relative to its features, root mean square; `limit` is the largest one that rounding
    /// explains.
    case otherTimeLayers(file: String, packed: String, block: String, difference: Double, limit: Double)
    /// A model whose VAE has another decoder than the file `packed`, by their dense parameters.
    case otherDecoder(file: String, packed: String, difference: Double, limit: Double)
    /// A model with another config than the file `packed`, which lacks `part`.
    case otherConfig(part: ExportedModel.MissingPart, packed: String)
    /// A model that lacks what it is asked for.
    case missingPart(ExportedModel.MissingPart)
    /// A component that is not one of `known`, those of the file.
    case unknownComponent(name: String, known: [String])
    /// A model that cannot be written as a GGUF file.
    case notForGGUF(reason: String)
    /// Embeddings of a shape that the model does not accept.
    case embeddingShape(key: String, expected: String, found: [Int])
    /// A text encoder whose hidden size is not the denoiser's context size.
    case crossAttentionDim(expected: Int, found: Int)
    /// A `clip_skip` that leaves no layer of the text encoder.
    case clipSkip(found: Int, largest: Int)
    /// A request that needs the component `name`, which the file does not have.
    case missingComponent(name: String, neededBy: String)
    /// A denoiser whose input has channels of an unknown kind after those of the noisy sample.
    case furtherChannels(input: Int, output: Int)
    /// Sampling a model that edits images without an image (or its mask), or a model that does not with one.
    case missingImage(conditionChannels: Int)
    /// Latents of another shape than the samples.
    case latentShape(key: String, expected: [Int], found: [Int])
    /// A model without quantized layers in a comparison of codes.
    case notQuantized

    public var description: String {
        switch self {
        case .noTextEncoder:
            "this model has no text encoder; pass --embeddings e.safetensors (encoder_hidden_states, "
                + "negative_encoder_hidden_states) instead of a prompt"
        case .crossAttentionDim(let expected, let found):
            "text encoder: hidden size \(found); expected the UNet's cross_attention_dim, \(expected); use "
                + "parts of one model"
        case .clipSkip(let found, let largest):
            "clip skip: expected 0 to \(largest), found \(found)"
        case .missingComponent(let name, let neededBy):
            "\(name): missing, but needed by \(neededBy); import the whole pipeline folder"
        case .furtherChannels(let input, let output):
            "config: in_channels \(input), out_channels \(output): the further input channels are unknown; expected as "
                + "many as out_channels (InstructPix2Pix) or one more (inpainting)"
        case .missingImage(let channels):
            channels == 0
                ? "the model takes no image as a condition"
                : "the model takes \(channels) channels of an image as a condition; sample with --init-image"
        case .latentShape(let key, let expected, let found):
            "\(key): expected shape \(expected), found \(found)"
        case .notQuantized:
            "there are no quantized layers to compare; give a student and the file that it was packed to"
        case .otherTimeLayers(let file, let packed, let block, let difference, let limit):
            "\(file): time layers: other features than those cached in \(packed): in \(block) they differ by "
                + "\(Self.percent(difference)), expected at most \(Self.percent(limit)); pass the model that it was "
                + "made from"
        case .otherDecoder(let file, let packed, let difference, let limit):
            "\(file): vae: the decoder differs from that of \(packed) by \(Self.percent(difference)), expected at most "
                + "\(Self.percent(limit)); pass the model that it was made from"
        case .otherConfig(let part, let packed):
            "\(part == .vaeEncoder ? "vae: " : "")config: differs from \(packed); pass the model that it was made from"
        case .missingPart(let part):
            "\(part.rawValue): missing; pass a dense model or a student"
        case .unknownComponent(let name, let known):
            "component \"\(name)\": not in the file; expected one of \(known.joined(separator: ", "))"
        case .notForGGUF(let reason):
            "GGUF: \(reason); only the UNets of Stable Diffusion can be written; export a diffusers folder instead"
        case .embeddingShape(let key, let expected, let found):
            "embeddings: \(key) has shape \(found), expected \(expected)"
        }
    }

    private static func percent(_ share: Double) -> String { String(format: "%.3g %%", 100 * share) }
}

extension PipelineError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .noTextEncoder, .clipSkip, .unknownComponent: .usage
        case .embeddingShape, .otherTimeLayers, .otherDecoder, .otherConfig, .missingPart, .notQuantized,
            .crossAttentionDim, .missingComponent, .furtherChannels, .missingImage, .latentShape, .notForGGUF:
            .badData
        }
    }
}
