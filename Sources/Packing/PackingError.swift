// SPDX-License-Identifier: Apache-2.0
// What can be wrong with codes or with packed bytes. Cases carry facts; the text is made here once.

/// An error of packing codes or unpacking bytes.
public enum PackingError: Error, Equatable, Sendable {
    /// A level count outside of `PackingLayout.supportedLevels`.
    case unsupportedLevels(found: Int)
    /// The bytes are not as many as `count` codes take.
    case wrongByteCount(count: Int, levels: Int, encoding: PackingEncoding, expected: Int, found: Int)
    /// A code outside of `0..<levels`; `stored` is the unsigned code.
    case codeOutOfRange(index: Int, stored: Int, levels: Int)
    /// A group's number is larger than its codes can make; `firstIndex` is the first of them.
    case groupOutOfRange(firstIndex: Int, found: UInt64, maximum: UInt64, levels: Int)
    /// The bits after the last code, in the last byte, are not all zero.
    case nonZeroPadding(lastByte: UInt8, usedBits: Int)
}

extension PackingError: CustomStringConvertible {
    /// One line: what, where, expected and found, what to do.
    public var description: String {
        switch self {
        case .unsupportedLevels(let found):
            return "levels: expected \(PackingLayout.supportedLevels), found \(found)"
        case .wrongByteCount(let count, let levels, let encoding, let expected, let found):
            return
                "packed codes: \(count) codes of \(levels) levels (\(encoding.rawValue)) take \(expected) bytes, "
                + "found \(found); the file is cut off or its shape, levels or encoding is wrong"
        case .codeOutOfRange(let index, let stored, let levels):
            return
                "code \(index): expected 0..<\(levels), found \(stored); the data is corrupted or the level count "
                + "is wrong"
        case .groupOutOfRange(let firstIndex, let found, let maximum, let levels):
            return
                "packed codes from \(firstIndex) on: expected at most \(maximum) for \(levels) levels, found "
                + "\(found); the data is corrupted or the level count is wrong"
        case .nonZeroPadding(let lastByte, let usedBits):
            return
                "packed codes: the last byte has \(usedBits) used bits and zeros above, found \(lastByte); "
                + "the data is corrupted"
        }
    }
}
