// SPDX-License-Identifier: Apache-2.0
// The identity of a layer: its diffusers module path, verbatim.
// Documents, checkpoints and the network all name layers by it; nothing renames or renumbers them.

/// A layer's diffusers module path, verbatim, such as `down_blocks.0.attentions.0.proj_in`.
///
/// Orders by the text, which is also the order of the keys in the documents.
public struct LayerID: RawRepresentable, Hashable, Comparable, Sendable {
    /// The path, without a trailing `.weight`.
    public let rawValue: String

    /// Takes `rawValue` as it is.
    public init(rawValue: String) {
        self.rawValue = rawValue
    }

    /// Takes `path` as it is.
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
