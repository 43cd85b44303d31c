// SPDX-License-Identifier: Apache-2.0
// The nominal bits of a balanced integer grid (BitsFusion, arXiv 2406.04333, section 4.1): b nominal bits have the 2^b
// + 1 levels -2^(b-1) ... 2^(b-1), and count as log2(2^b + 1) effective bits.

import Foundation

/// A nominal bit width b in `1...8`.
///
///     b                1     2     3     4      5      6      7      8
///     levels           3     5     9     17     33     65     129    257
///     effective bits   1.585 2.322 3.170 4.087  5.044  6.022  7.011  8.006
public struct BitWidth: RawRepresentable, Hashable, Comparable, Sendable {
    /// The nominal bits b, in `1...8`.
    public let rawValue: Int

    /// The valid nominal bits.
    public static let range = 1...8

    /// All bit widths, ascending.
    public static let all = range.compactMap(BitWidth.init(rawValue:))

    /// The bits of the first and the last layer, independent of the budget.
    public static let firstAndLast = BitWidth(unchecked: 8)

    /// The bit width of `rawValue` nominal bits; nil outside of `1...8`.
    public init?(rawValue: Int) {
        guard Self.range.contains(rawValue) else { return nil }
        self.rawValue = rawValue
    }

    /// The bit width of `nominal` bits.
    ///
    /// - Precondition: `nominal` is in `1...8`. Values that come from a file go through `init(rawValue:)`.
    public init(_ nominal: Int) {
        precondition(
            Self.range.contains(nominal), "BitWidth: \(nominal) nominal bits are not in \(Self.range)")
        rawValue = nominal
    }

    private init(unchecked nominal: Int) {
        rawValue = nominal
    }

    /// The number of grid points, 2^b + 1: odd, in `3...257`.
    public var levels: Int { (1 << rawValue) + 1 }

    /// The number of grid points of layers whose codes must fit into a byte: `levels`, or 255 for 8 bits.
    public var levelsInByte: Int { min(levels, 255) }

    /// The cost of one weight, log2(levels), in bits.
    public var effectiveBits: Double { log2(Double(levels)) }

    /// This bit width plus `extra` bits, at most 8.
    public func widened(by extra: Int) -> BitWidth {
        BitWidth(unchecked: min(max(rawValue + extra, Self.range.lowerBound), Self.range.upperBound))
    }

    public static func < (lhs: BitWidth, rhs: BitWidth) -> Bool {
        lhs.rawValue < rhs.rawValue
    }
}

extension BitWidth: Codable {
    /// Reads an integer.
    ///
    /// - Throws: `DecodingError.dataCorrupted` outside of `1...8`.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let nominal = try container.decode(Int.self)
        guard let bits = BitWidth(rawValue: nominal) else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "expected nominal bits in \(Self.range), found \(nominal)")
        }
        self = bits
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
}

// Dictionaries keyed by bits become JSON objects with the keys "1", "2", ...
extension BitWidth: CodingKeyRepresentable {
    public var codingKey: any CodingKey { DocumentKey(String(rawValue)) }

    public init?<Key: CodingKey>(codingKey: Key) {
        guard let nominal = Int(codingKey.stringValue) else { return nil }
        self.init(rawValue: nominal)
    }
}

extension BitWidth: CustomStringConvertible {
    public var description: String { String(rawValue) }
}
