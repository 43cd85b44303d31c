// SPDX-License-Identifier: Apache-2.0
// What can be wrong with a request to a pipeline.

import Files

/// A request that the model cannot serve.
public enum PipelineError: Error, Equatable, Sendable {
    /// Prompts for a model that has no text encoder.
    case noTextEncoder
    /// A model whose conditions are more than text tokens (SDXL's `text_time`), where only tokens are at hand.
    case furtherConditions(value: String)
    /// Embeddings whose shape does not suit the model.
    case embeddingShape(key: String, expected: String, found: [Int])
    /// A text encoder whose width is not the one that the UNet attends to.
    case crossAttentionDim(expected: Int, found: Int)
    /// A model without quantized layers where codes are compared.
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
