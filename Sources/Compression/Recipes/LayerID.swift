// SPDX-License-Identifier: Apache-2.0
// The identity of a layer: its diffusers module path, verbatim. Documents, checkpoints and networks name layers by it.

/// A layer's diffusers module path, verbatim, such as `down_blocks.0.attentions.0.proj_in`.
///
/// Ordered by the text, which is the order of keys in documents.
public struct LayerID: RawRepresentable, Hashable, Comparable, Sendable {
    /// The path, without a trailing `.weight`.
    public let rawValue: String

    /// The layer at the path `rawValue`.
    public init(rawValue: String) {
        self.rawValue = rawValue
    }

    /// The layer at `path`.
    public init(_ path: String) {
        rawValue = path
    }

    public static func < (lhs: LayerID, rhs: LayerID) -> Bool {
        lhs.rawValue < rhs.rawValue
    }
}

extension LayerID: Codable {
    public init(from decoder: any Decoder) throws {
        rawValue = try decoder.singleValueContainer().decode(String.self)
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
        rawValue = codingKey.stringValue
    }
}

extension LayerID: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) {
        rawValue = value
    }
}

extension LayerID: CustomStringConvertible {
    public var description: String { rawValue }
}
