// SPDX-License-Identifier: Apache-2.0
// Errors of packing and unpacking.

import Files

/// An error of packing codes or unpacking bytes.
public enum PackingError: Error, Equatable, Sendable {
    /// A number of levels outside `PackingLayout.supportedLevels`.
    case unsupportedLevels(found: Int)
    /// The number of bytes does not match `count` codes.
    case wrongByteCount(count: Int, levels: Int, encoding: PackingEncoding, expected: Int, found: Int)
    /// A code outside `0..<levels`; `stored` is the unsigned code.
    case codeOutOfRange(index: Int, stored: Int, levels: Int)
    /// The number of a group is larger than that of any codes; `firstIndex` is the index of its first code.
    case groupOutOfRange(firstIndex: Int, found: UInt64, maximum: UInt64, levels: Int)
    /// The padding bits of the last byte are not all zero.
    case nonZeroPadding(lastByte: UInt8, usedBits: Int)
    /// The encoding has no layout of fixed size.
    case noFixedSize(encoding: PackingEncoding)
    /// The header of an entropy-coded stream has an unknown model, precision or number of lanes.
    case unknownStreamHeader(bytes: [UInt8])
    /// An entropy-coded stream ends within its frequencies, states or words.
    case streamCutOff(part: String, bytes: Int)
    /// The frequencies of an entropy-coded stream have the wrong sum.
    case wrongFrequencySum(found: Int, expected: Int)
    /// The padding bits after the last frequency are not all zero.
    case nonZeroFrequencyPadding(bits: Int)
    /// Lanes of an entropy-coded stream have an initial state below 2^16.
    case wrongStreamStart(faultyLanes: Int, lanes: Int)
    /// Lanes of an entropy-coded stream do not end in the state 2^16, or bytes are left over.
    case wrongStreamEnd(unreadBytes: Int, faultyLanes: Int, lanes: Int)
    /// The last tuple of an entropy-coded stream is not padded with its last code; stored codes.
    case wrongFilling(lastCode: Int, found: Int)
}

extension PackingError {
    /// One line: what is wrong, where, expected and found values, and what to do.
    public var description: String {
        switch self {
        case .unsupportedLevels(let found):
            return "levels: expected \(PackingLayout.supportedLevels), found \(found)"
        case .wrongByteCount(let count, let levels, let encoding, let expected, let found):
            return
                "packed codes: \(count) codes of \(levels) levels (\(encoding.rawValue)): expected \(expected) bytes, "
                + "found \(found); the file is truncated, or its shape, levels or encoding is wrong"
        case .codeOutOfRange(let index, let stored, let levels):
            return
                "code \(index): expected 0..<\(levels), found \(stored); the data is corrupted, or the number of "
                + "levels is wrong"
        case .groupOutOfRange(let firstIndex, let found, let maximum, let levels):
            return
                "packed codes from \(firstIndex) on: expected at most \(maximum) for \(levels) levels, found "
                + "\(found); the data is corrupted, or the number of levels is wrong"
        case .nonZeroPadding(let lastByte, let usedBits):
            return
                "packed codes: last byte: expected zeros above the lowest \(usedBits) bits, found \(lastByte); "
                + "the data is corrupted"
        case .noFixedSize(let encoding):
            return
                "packed codes: encoding without fixed size: found \(encoding.rawValue), expected one of "
                + PackingEncoding.allCases.filter(\.hasFixedSize).map(\.rawValue).joined(separator: ", ")
        case .unknownStreamHeader(let bytes):
            return
                "entropy-coded stream: expected a header with a known model, precision and number of lanes, found "
                + "\(bytes); the data is corrupted, or was written by a newer version"
        case .streamCutOff(let part, let bytes):
            return
                "entropy-coded stream: its \(bytes) bytes end within its \(part); the file is truncated, or its shape "
                + "or number of levels is wrong"
        case .wrongFrequencySum(let found, let expected):
            return
                "entropy-coded stream: sum of frequencies: expected \(expected), found \(found); the data is "
                + "corrupted, or the number of levels is wrong"
        case .nonZeroFrequencyPadding(let bits):
            return
                "entropy-coded stream: padding after the frequencies: expected 0, found \(bits); the data is "
                + "corrupted, or the number of levels is wrong"
        case .wrongStreamStart(let faultyLanes, let lanes):
            return
                "entropy-coded stream: expected states of at least 65536, found \(faultyLanes) of \(lanes) below; the "
                + "data is corrupted, or the number of levels is wrong"
        case .wrongStreamEnd(let unreadBytes, let faultyLanes, let lanes):
            return
                "entropy-coded stream: after the last code: expected 0 bytes and all lanes in the state 65536, found "
                + "\(unreadBytes) bytes and \(faultyLanes) of \(lanes) lanes in another state; the data is corrupted, "
                + "or its shape or number of levels is wrong"
        case .wrongFilling(let lastCode, let found):
            return
                "entropy-coded stream: padding of the last tuple: expected the last code, \(lastCode), found \(found); "
                + "the data is corrupted, or its shape is wrong"
        }
    }
}

extension PackingError: CategorizedError {
    public var category: ErrorCategory { .badData }
}
