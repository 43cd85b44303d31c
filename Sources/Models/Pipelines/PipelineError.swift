// SPDX-License-Identifier: Apache-2.0
// Errors of pipelines.

import Files

/// A request that the model does not support.
public enum PipelineError: Error, Equatable, Sendable {
    /// Prompts for a model without a text encoder.
    case noTextEncoder
    /// A model that needs conditions in addition to text tokens (SDXL's `text_time`), where only tokens are available.
    case furtherConditions(value: String)
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
        case .furtherConditions(let value):
            "config: addition_embed_type \(value): the further conditions of such models are not supported here; "
                + "import, quantize, export and predict take them"
        case .embeddingShape(let key, let expected, let found):
            "embeddings: \(key) has shape \(found), expected \(expected)"
        }
    }
}

extension PipelineError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .noTextEncoder: .usage
        case .embeddingShape, .furtherConditions, .notQuantized, .crossAttentionDim:
            .badData
        }
    }
}
