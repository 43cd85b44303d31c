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
    /// P, channels of the projected text embedding. Used by `CLIPTextModelWithProjection` only.
    public let projectionDim: Int
    /// The maximum number of tokens of a text.
    public let maxPositionEmbeddings: Int
    /// The token whose first position is pooled; 2 pools the position of the largest id instead.
    public let eosTokenID: Int
    /// Extension, true for the models of CLIP: a token attends to itself and to earlier tokens. False: to all tokens.
    public let causalAttention: Bool
    let encoder: CLIPEncoderSizes
}

extension CLIPTextConfig {
    /// D, channels per token.
    public var hiddenSize: Int { encoder.hiddenSize }
    /// Channels between the two linear layers of each feed-forward network.
    public var intermediateSize: Int { encoder.intermediateSize }
    public var numHiddenLayers: Int { encoder.numHiddenLayers }
    /// Number of attention heads; divides `hiddenSize`.
    public var numAttentionHeads: Int { encoder.numAttentionHeads }
    /// The activation of the feed-forward networks.
    public var hiddenAct: Activation { encoder.hiddenAct }
    public var layerNormEps: Float { encoder.layerNormEps }

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

    init(document: JSONValue, json: Data) throws(ConfigError) {
        var reader = try ConfigReader(
            document, name: Self.documentName, nullable: Set(CLIPConfigKeys.withoutEffect))
        self.json = json
        self.document = document
        func size(_ key: String, default defaultValue: Int) throws(ConfigError) -> Int {
            try reader.integer(key, in: CLIPConfigKeys.sizes) ?? defaultValue
        }
        vocabSize = try size("vocab_size", default: 49408)
        encoder = try CLIPEncoderSizes(&reader, hiddenSize: 512, intermediateSize: 2048, numAttentionHeads: 8)
        projectionDim = try size("projection_dim", default: 512)
        maxPositionEmbeddings = try size("max_position_embeddings", default: 77)
        eosTokenID = try reader.integer("eos_token_id", in: 0...Int(Int32.max)) ?? 49407
        causalAttention = try reader.bool("causal_attention", default: true)
        try reader.mustBeDefault("tie_last_hidden_states", .bool(false))
        try reader.mustBeDefault("pruned_heads", .object([]))
        for key in CLIPConfigKeys.withoutEffect { _ = reader.value(key) }
        try reader.finish()
    }

    private static let documentName = "text encoder config.json"
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
