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
    /// Embeddings of a shape that the model does not accept.
    case embeddingShape(key: String, expected: String, found: [Int])
    /// A text encoder whose hidden size is not the denoiser's context size.
    case crossAttentionDim(expected: Int, found: Int)
    /// A model without quantized layers in a comparison of codes.
    case notQuantized

    public var description: String {
        switch self {
        case .noTextEncoder:
            "this model has no text encoder; pass --embeddings e.safetensors (encoder_hidden_states, "
                + "negative_encoder_hidden_states) instead of a prompt"
        case .crossAttentionDim(let expected, let found):
            "text encoder: width \(found), the UNet's config wants \(expected); they belong to different models"
        case .notQuantized:
            "there are no quantized layers to compare; give a student and the file that it was packed to"
        case .otherTimeLayers(let file, let packed, let block, let difference, let limit):
            "\(file): time layers: other features than those cached in \(packed): in \(block) they differ by "
                + "\(Self.percent(difference)), expected at most \(Self.percent(limit)); pass the model that it was "
                + "made from"
        case .embeddingShape(let key, let expected, let found):
            "embeddings: \(key) has shape \(found), expected \(expected)"
        }
    }

    private static func percent(_ share: Double) -> String { String(format: "%.3g %%", 100 * share) }
}

extension PipelineError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .noTextEncoder: .usage
        case .embeddingShape, .otherTimeLayers, .notQuantized, .crossAttentionDim:
            .badData
        }
    }
}
