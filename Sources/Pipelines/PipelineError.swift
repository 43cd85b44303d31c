// SPDX-License-Identifier: Apache-2.0
// What can be wrong with a request to a pipeline.

/// A request that the model cannot serve.
public enum PipelineError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Prompts for a model that has no text encoder.
    case noTextEncoder
    /// A model whose conditions are more than text tokens (SDXL's `text_time`), where only tokens are at hand.
    case furtherConditions(value: String)
    /// Embeddings whose shape does not suit the model.
    case embeddingShape(key: String, expected: String, found: [Int])
    /// The text encoder's table does not match the words of the shapes world.
    case vocabulary(expected: Int, found: Int)
    /// A text encoder of fewer tokens than the longest caption takes.
    case textLength(least: Int, found: Int)
    /// A text encoder whose width is not the one that the UNet attends to.
    case contextWidth(expected: Int, found: Int)
    /// A model without quantized layers where codes are compared.
    case notQuantized

    public var description: String {
        switch self {
        case .noTextEncoder:
            "this model has no text encoder; pass --embeddings e.safetensors (encoder_hidden_states, "
                + "negative_encoder_hidden_states) instead of a prompt"
        case .textLength(let least, let found):
            "text encoder: max_length \(found) is too short for captions, which take \(least) tokens; check text_config"
        case .contextWidth(let expected, let found):
            "text encoder: width \(found), the UNet's config wants \(expected); they belong to different models"
        case .notQuantized:
            "there are no quantized layers to compare; give a student and the file that it was packed to"
        case .furtherConditions(let value):
            "config: addition_embed_type \(value): the further conditions of such models are not supported here; "
                + "import, quantize, export and predict take them"
        case .embeddingShape(let key, let expected, let found):
            "embeddings: \(key) has shape \(found), expected \(expected)"
        case .vocabulary(let expected, let found):
            "text encoder: its table has \(found) words, the prompt vocabulary \(expected); this model was made for "
                + "another tokenizer: pass --embeddings instead of a prompt"
        }
    }
}
