// SPDX-License-Identifier: Apache-2.0
// The architecture of the text encoder, as its JSON describes it.

import Files
import Foundation
import Layers

/// Sizes of a transformer text encoder.
public struct TextEncoderConfig: Codable, Sendable, Equatable {
    /// The nonlinearity of the feed-forward networks.
    public enum MLPActivation: String, Codable, Sendable, CaseIterable {
        case gelu
        /// As CLIP's text encoders.
        case quickGELU = "quick_gelu"
    }

    /// Number of token ids.
    public let vocabSize: Int
    /// Longest text, in tokens.
    public let maxLength: Int
    /// Channels per token.
    public let width: Int
    public let layers: Int
    /// Attention heads; divides `width`.
    public let heads: Int
    /// Tokens see only those before them.
    public let causal: Bool
    public let activation: MLPActivation

    /// A config from its numbers.
    ///
    /// - Throws: `ConfigError` when a size is not positive or `heads` does not divide `width`.
    public init(
        vocabSize: Int, maxLength: Int, width: Int, layers: Int, heads: Int, causal: Bool = false,
        activation: MLPActivation = .gelu
    ) throws(ConfigError) {
        self.vocabSize = vocabSize
        self.maxLength = maxLength
        self.width = width
        self.layers = layers
        self.heads = heads
        self.causal = causal
        self.activation = activation
        let sizes = [
            ("vocab_size", vocabSize), ("max_length", maxLength), ("width", width), ("layers", layers),
            ("heads", heads),
        ]
        for (key, size) in sizes where size < 1 {
            throw .unsupported(key: key, value: String(size), supported: "integers from 1")
        }
        guard width % heads == 0 else {
            throw .indivisible(key: "width", value: width, divisorKey: "heads", divisor: heads)
        }
    }

    /// Reads `{"vocab_size", "max_length", "width", "layers", "heads", "causal": false, "activation": "gelu"}`.
    ///
    /// - Throws: `ConfigError`, naming the key and value, for missing or unknown keys and impossible values.
    public init(json: Data) throws(ConfigError) {
        try self.init(document: JSONValue(parsing: json, name: "text encoder config"))
    }

    /// Reads the config as a nested JSON object, with the checks of `init(json:)`.
    public init(from decoder: any Decoder) throws {
        try self.init(document: JSONValue(from: decoder))
    }

    private init(document: JSONValue) throws(ConfigError) {
        var reader = try ConfigReader(document, name: "text encoder config", nullable: [])
        func required(_ key: String) throws(ConfigError) -> Int {
            guard let value = try reader.integer(key, in: 1...(1 << 20)) else {
                throw .missing(key: key, neededBy: "the text encoder")
            }
            return value
        }
        try self.init(
            vocabSize: required("vocab_size"), maxLength: required("max_length"), width: required("width"),
            layers: required("layers"), heads: required("heads"),
            causal: reader.bool("causal", default: false),
            activation: reader.choice("activation", as: MLPActivation.self) ?? .gelu)
        try reader.finish()
    }

    private enum CodingKeys: String, CodingKey {
        case vocabSize = "vocab_size"
        case maxLength = "max_length"
        case width, layers, heads, causal, activation
    }
}

extension TextEncoderConfig.MLPActivation {
    /// The point-wise function.
    var function: Activation {
        switch self {
        case .gelu: .gelu
        case .quickGELU: .quickGELU
        }
    }
}
