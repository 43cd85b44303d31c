// SPDX-License-Identifier: Apache-2.0
// The identity of a layer: its diffusers module path, verbatim. Documents, checkpoints and networks name layers by it.

/// A layer's diffusers module path, verbatim, such as `down_blocks.0.attentions.0.proj_in`.
///
/// A path belongs to the denoiser. A layer of another component of the pipeline has the component's name in front, as
/// in `text_encoder.text_model.encoder.layers.0.mlp.fc1`; the denoiser's own name (`unet`, `transformer`) may be
/// written and is removed. Ordered by the text, which is the order of keys in documents.
public struct LayerID: RawRepresentable, Hashable, Comparable, Sendable {
    /// The path, without a trailing `.weight`.
    public let rawValue: String

    /// The names that diffusers gives to denoisers.
    private static let denoisers = ["unet.", "transformer."]

    /// The layer at the path `rawValue`.
    public init(rawValue: String) {
        let prefix = Self.denoisers.first { rawValue.hasPrefix($0) } ?? ""
        self.rawValue = String(rawValue.dropFirst(prefix.count))
    }

    /// The layer at `path`.
    public init(_ path: String) { self.init(rawValue: path) }

    /// The layer at `path` of `component`; nil for the denoiser.
    public init(_ path: String, of component: String?) {
        self.init(rawValue: component.map { $0 + "." + path } ?? path)
    }

    public static func < (lhs: LayerID, rhs: LayerID) -> Bool {
        lhs.rawValue < rhs.rawValue
    }
}

extension LayerID: Codable {
    public init(from decoder: any Decoder) throws {
        self.init(rawValue: try decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
}

// Dictionaries keyed by layer become JSON objects, not arrays of alternating keys and values.
extension LayerID: CodingKeyRepresentable {
    public var codingKey: any CodingKey { DocumentKey(rawValue) }

    public init?<Key: CodingKey>(codingKey: Key) {
        self.init(rawValue: codingKey.stringValue)
    }
}

extension LayerID: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) {
        self.init(rawValue: value)
    }
}

extension LayerID: CustomStringConvertible {
    public var description: String { rawValue }
}
