// SPDX-License-Identifier: Apache-2.0
// The architecture of a CLIP text encoder. Keys, meanings and defaults are those of transformers' `CLIPTextConfig`
// (models/clip/configuration_clip.py); `causal_attention` is an extension of this library.

import Files
import Foundation
import Layers

/// transformers' `config.json` of a `CLIPTextModel` or `CLIPTextModelWithProjection`, validated.
///
/// Every key that changes the output is either implemented or an error: see `init(json:)`.
public struct CLIPTextConfig: Sendable {
    /// The bytes that this config was read from, for writing back unchanged.
    public let json: Data
    private let document: JSONValue

    /// V, the number of token ids.
    public let vocabSize: Int
    /// D, channels per token.
    public let hiddenSize: Int
    /// Channels between the two linear layers of each feed-forward network.
    public let intermediateSize: Int
    /// P, channels of the projected text embedding. Used by `CLIPTextModelWithProjection` only.
    public let projectionDim: Int
    public let numHiddenLayers: Int
    /// Number of attention heads; divides `hiddenSize`.
    public let numAttentionHeads: Int
    /// The maximum number of tokens of a text.
    public let maxPositionEmbeddings: Int
    /// The activation of the feed-forward networks.
    public let hiddenAct: Activation
    public let layerNormEps: Float
    /// The token whose first position is pooled; 2 pools the position of the largest id instead.
    public let eosTokenID: Int
    /// Extension, true for the models of CLIP: a token attends to itself and to earlier tokens. False: to all tokens.
    public let causalAttention: Bool
}

extension CLIPTextConfig {
    /// Reads transformers' `config.json`.
    ///
    /// An absent key has transformers' default. `"causal_attention": false`, an extension, removes the causal mask.
    /// Keys without effect on the output, such as `attention_dropout`, `architectures` and `model_type`, are ignored;
    /// so are keys that begin with "_".
    ///
    /// - Parameter json: UTF-8 JSON, in which `NaN` and `Infinity` are accepted.
    /// - Throws: `ConfigError`, which names the key and its value, for an unknown key, a value of the wrong type or out
    ///   of range, and an activation that is not implemented.
    public init(json: Data) throws(ConfigError) {
        try self.init(document: JSONValue(parsing: json, name: Self.documentName), json: json)
    }

    private init(document: JSONValue, json: Data) throws(ConfigError) {
        var reader = try ConfigReader(
            document, name: Self.documentName, nullable: Set(Self.keysWithoutEffect))
        self.json = json
        self.document = document
        func size(_ key: String, default defaultValue: Int) throws(ConfigError) -> Int {
            try reader.integer(key, in: Self.sizeRange) ?? defaultValue
        }
        vocabSize = try size("vocab_size", default: 49408)
        hiddenSize = try size("hidden_size", default: 512)
        intermediateSize = try size("intermediate_size", default: 2048)
        projectionDim = try size("projection_dim", default: 512)
        numHiddenLayers = try reader.integer("num_hidden_layers", in: 1...256) ?? 12
        numAttentionHeads = try size("num_attention_heads", default: 8)
        maxPositionEmbeddings = try size("max_position_embeddings", default: 77)
        hiddenAct = try Self.activation(&reader) ?? .quickGELU
        layerNormEps = Float(try reader.number("layer_norm_eps", "numbers above 0") { Float($0) > 0 } ?? 1e-5)
        eosTokenID = try reader.integer("eos_token_id", in: 0...Int(Int32.max)) ?? 49407
        causalAttention = try reader.bool("causal_attention", default: true)
        guard hiddenSize % numAttentionHeads == 0 else {
            throw .indivisible(
                key: "hidden_size", value: hiddenSize, divisorKey: "num_attention_heads", divisor: numAttentionHeads)
        }
        try reader.mustBeDefault("tie_last_hidden_states", .bool(false))
        try reader.mustBeDefault("pruned_heads", .object([]))
        for key in Self.keysWithoutEffect { _ = reader.value(key) }
        try reader.finish()
    }

    private static let documentName = "text encoder config.json"

    // Larger than in any model, and small enough that no product of two sizes overflows.
    private static let sizeRange = 1...(1 << 20)

    /// Keys of `CLIPTextConfig` and `PreTrainedConfig` (configuration_utils.py) that do not change the output in
    /// inference: dropout, initialization, special tokens of the tokenizer, element types, and options of other models.
    private static let keysWithoutEffect = [
        "attention_dropout", "dropout", "initializer_factor", "initializer_range", "bos_token_id", "pad_token_id",
        "model_type", "architectures", "name_or_path", "transformers_version", "dtype", "torch_dtype",
        "attn_implementation", "return_dict", "output_attentions", "output_hidden_states", "gradient_checkpointing",
        "chunk_size_feed_forward", "use_bfloat16", "torchscript", "tf_legacy_loss", "use_cache", "is_decoder",
        "is_encoder_decoder", "add_cross_attention", "cross_attention_hidden_size", "tie_encoder_decoder",
        "tie_word_embeddings", "tokenizer_class", "sep_token_id", "decoder_start_token_id", "prefix", "id2label",
        "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params",
    ]

    /// The value of `hidden_act`: the names in transformers' `ACT2FN` that are implemented.
    private static func activation(_ reader: inout ConfigReader) throws(ConfigError) -> Activation? {
        let key = "hidden_act"
        guard let name = try reader.string(key) else { return nil }
        if name == "swish" { return .silu }
        guard let activation = Activation(rawValue: name) else {
            let names = Activation.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
            throw reader.unsupported(key, .string(name), names + ", \"swish\"")
        }
        return activation
    }
}

extension CLIPTextConfig: Equatable {
    /// Equal documents, regardless of the order of keys and white space.
    public static func == (left: CLIPTextConfig, right: CLIPTextConfig) -> Bool { left.document == right.document }
}

extension CLIPTextConfig: Codable {
    /// Reads the config as a nested JSON object, with the checks of `init(json:)`.
    public init(from decoder: any Decoder) throws {
        let document = try JSONValue(from: decoder)
        try self.init(document: document, json: JSONEncoder.compact.encode(document))
    }

    /// Writes the config as the JSON object that it was read from.
    public func encode(to encoder: any Encoder) throws {
        try document.encode(to: encoder)
    }
}
