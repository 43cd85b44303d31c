// SPDX-License-Identifier: Apache-2.0
// What can be wrong with codes or with packed bytes. Cases carry facts; the text is made here once.

import Files

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
    /// A layout was asked for of an encoding that has none, as the codes themselves decide about its bytes.
    case noFixedSize(encoding: PackingEncoding)
    /// The bytes at the start of an entropy-coded stream name no model, precision or number of lanes.
    case unknownStreamHeader(bytes: [UInt8])
    /// An entropy-coded stream ends within its frequencies, its lanes' states or its words.
    case streamCutOff(part: String, bytes: Int)
    /// The frequencies of an entropy-coded stream do not add up.
    case wrongFrequencySum(found: Int, expected: Int)
    /// The bits after the last frequency, up to the next byte, are not all zero.
    case nonZeroFrequencyPadding(bits: Int)
    /// Lanes of an entropy-coded stream begin in a state below 2^16.
    case wrongStreamStart(faultyLanes: Int, lanes: Int)
    /// An entropy-coded stream's lanes do not end where they began, or bytes are left over.
    case wrongStreamEnd(unreadBytes: Int, faultyLanes: Int, lanes: Int)
    /// The last tuple of an entropy-coded stream is not filled up with its last code; stored codes.
    case wrongFilling(lastCode: Int, found: Int)
}

extension PackingError {
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
        case .noFixedSize(let encoding):
            return
                "packed codes: \(encoding.rawValue) has no groups of fixed size; expected one of "
                + PackingEncoding.allCases.filter(\.hasFixedSize).map(\.rawValue).joined(separator: ", ")
        case .unknownStreamHeader(let bytes):
            return
                "entropy-coded stream: expected a header with a known model, precision and number of lanes, found "
                + "\(bytes); the data is corrupted or was written by a newer version"
        case .streamCutOff(let part, let bytes):
            return
                "entropy-coded stream: its \(bytes) bytes end within its \(part); the file is cut off or its shape "
                + "or level count is wrong"
        case .wrongFrequencySum(let found, let expected):
            return
                "entropy-coded stream: frequencies that add up to \(expected) expected, found \(found); the data is "
                + "corrupted or the level count is wrong"
        case .nonZeroFrequencyPadding(let bits):
            return
                "entropy-coded stream: expected zeros up to the next byte after the frequencies, found \(bits); the "
                + "data is corrupted or the level count is wrong"
        case .wrongStreamStart(let faultyLanes, let lanes):
            return
                "entropy-coded stream: expected states of at least 65536, found \(faultyLanes) of \(lanes) below; the "
                + "data is corrupted or the level count is wrong"
        case .wrongStreamEnd(let unreadBytes, let faultyLanes, let lanes):
            return
                "entropy-coded stream: after the last code expected no bytes and every lane in its first state, found "
                + "\(unreadBytes) bytes and \(faultyLanes) of \(lanes) lanes in another; the data is corrupted or its "
                + "shape or level count is wrong"
        case .wrongFilling(let lastCode, let found):
            return
                "entropy-coded stream: expected the last tuple to be filled up with the last code, \(lastCode), found "
                + "\(found); the data is corrupted or its shape is wrong"
        }
    }
}

extension PackingError: CategorizedError {
    public var category: ErrorCategory { .badData }
}
