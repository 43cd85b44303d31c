// SPDX-License-Identifier: Apache-2.0
// The nominal width of a balanced integer grid (BitsFusion, arXiv 2406.04333, section 4.1).
// Nominal width b stands for the 2^b + 1 levels -2^(b-1) ... 2^(b-1), and is counted as log2(2^b + 1) bits.

import Foundation

/// A nominal bit width b in `1...8`.
///
///     b        1     2     3     4      5      6      7      8
///     levels   3     5     9     17     33     65     129    257
///     bits     1.585 2.322 3.170 4.087  5.044  6.022  7.011  8.006
public struct BitWidth: RawRepresentable, Hashable, Comparable, Sendable {
    /// The nominal width b, in `1...8`.
    public let rawValue: Int

    /// The widths that exist.
    public static let range = 1...8

    /// All widths, narrowest first.
    public static let all = range.compactMap(BitWidth.init(rawValue:))

    /// The width of the first and the last convolution, whatever the budget.
    public static let firstAndLast = BitWidth(unchecked: 8)

    /// The nominal width `rawValue`, or nil outside of `1...8`.
    public init?(rawValue: Int) {
        guard Self.range.contains(rawValue) else { return nil }
        self.rawValue = rawValue
    }

    /// The nominal width `nominal`.
    ///
    /// - Precondition: `nominal` is in `1...8`. Values that come from a file go through `init(rawValue:)`.
    public init(_ nominal: Int) {
        precondition(
            Self.range.contains(nominal), "BitWidth: nominal width \(nominal) is not in \(Self.range)")
        rawValue = nominal
    }

    private init(unchecked nominal: Int) {
        rawValue = nominal
    }

    /// The number of grid points, 2^b + 1: odd, in `3...257`.
    public var levels: Int { (1 << rawValue) + 1 }

    /// What one weight costs: log2(levels), in bits.
    public var bits: Double { log2(Double(levels)) }

    /// This width and `extra` more bits, at most 8.
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
        guard let width = BitWidth(rawValue: nominal) else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "nominal width \(nominal) is not in \(Self.range)")
        }
        self = width
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
}

// Dictionaries keyed by width become JSON objects with the keys "1", "2", ...
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
