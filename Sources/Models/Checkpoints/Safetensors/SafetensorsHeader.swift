// SPDX-License-Identifier: Apache-2.0
// The header of a safetensors file. It is validated completely before data is read, by the rules of the reference
// implementation (huggingface/safetensors, tensor.rs: Metadata::validate).
//
//     8 bytes   N, little-endian
//     N bytes   JSON: {"__metadata__": {text: text}, key: {"dtype", "shape", "data_offsets": [begin, end]}, ...}
//     rest      data, covered by the entries without gaps or overlaps

import Files

/// The position of each tensor of a safetensors file.
struct SafetensorsHeader: Equatable, Sendable {
    struct Entry: Equatable, Sendable {
        let key: String
        /// As in the header: "F32", "BF16", "I64" ...
        let dtype: String
        let shape: [Int]
        /// The byte range, from the start of the data.
        let bytes: Range<Int>
    }

    /// The entries, in the order of their byte ranges.
    let entries: [Entry]
    /// The text pairs under `__metadata__`.
    let metadata: [String: String]
    /// The offset of the data in the file, in bytes.
    let dataOffset: Int

    static let byteLimit = 100_000_000

    /// The bytes per element of all dtypes of the format except sub-byte floats. The size of tensors of other dtypes is
    /// not checked, and reading them is an error.
    static let bytesPerElement: [String: Int] = [
        "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2,
        "BF16": 2,
        "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
    ]

    /// Reads and validates the header of a file, given all bytes of the file.
    ///
    /// - Throws: the first `SafetensorsFault` found.
    init(file: UnsafeRawBufferPointer) throws(SafetensorsFault) {
        guard file.count >= 8 else { throw .tooShort(bytes: file.count) }
        let length = UInt64(littleEndian: file.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(Self.byteLimit) else {
            throw .headerTooLarge(bytes: length, limit: Self.byteLimit)
        }
        let available = file.count - 8
        guard length <= UInt64(available) else {
            throw .headerBeyondFile(bytes: length, available: available)
        }
        let header = UnsafeRawBufferPointer(rebasing: file[8..<8 + Int(length)])
        dataOffset = 8 + Int(length)

        var metadata: [String: String] = [:]
        var entries: [Entry] = []
        for member in try Self.members(of: header) {
            if member.key == "__metadata__" {
                metadata = try Self.metadata(member.value)
            } else {
                entries.append(try Self.entry(member.key, member.value, dataBytes: file.count - dataOffset))
            }
        }
        self.metadata = metadata
        self.entries = try Self.inOrder(entries, dataBytes: file.count - dataOffset)
    }

    private static func members(of header: UnsafeRawBufferPointer) throws(SafetensorsFault) -> [JSONValue.Member] {
        // As in the reference implementation, which rejects leading whitespace.
        guard header.first == UInt8(ascii: "{") else { throw .syntax(offset: 0, expected: "\"{\"") }
        do throws(JSONFault) {
            guard let members = try JSONValue(header).members else {
                throw .syntax(offset: 0, expected: "\"{\"")
            }
            return members
        } catch {
            switch error {
            case .syntax(let offset, let expected): throw .syntax(offset: offset, expected: expected)
            case .notUTF8: throw .notUTF8
            case .duplicateKey(let key): throw .duplicateKey(key)
            }
        }
    }

    private static func metadata(_ value: JSONValue) throws(SafetensorsFault) -> [String: String] {
        var result: [String: String] = [:]
        if value == .null { return result }
        for member in value.members ?? [] {
            guard let text = member.value.text else {
                throw .field(key: "__metadata__", field: member.key, expected: "text")
            }
            result[member.key] = text
        }
        guard value.members != nil else {
            throw .field(key: "__metadata__", field: "", expected: "an object")
        }
        return result
    }

    private static func entry(
        _ key: String, _ value: JSONValue, dataBytes: Int
    ) throws(SafetensorsFault) -> Entry {
        var dtype: String?
        var shape: [Int]?
        var offsets: [Int]?
        guard let members = value.members else { throw .field(key: key, field: "", expected: "an object") }
        for member in members {
            switch member.key {
            case "dtype": dtype = member.value.text
            case "shape": shape = counts(member.value)
            case "data_offsets": offsets = counts(member.value)
            default: throw .field(key: key, field: member.key, expected: "only dtype, shape, data_offsets")
            }
        }
        guard let dtype else { throw .field(key: key, field: "dtype", expected: "text") }
        guard let shape else {
            throw .field(key: key, field: "shape", expected: "a list of integers from 0 to 2^63-1")
        }
        guard let offsets, offsets.count == 2 else {
            throw .field(key: key, field: "data_offsets", expected: "two integers from 0 to 2^63-1")
        }
        guard offsets[0] <= offsets[1], offsets[1] <= dataBytes else {
            throw .outOfRange(key: key, begin: offsets[0], end: offsets[1], dataBytes: dataBytes)
        }
        let entry = Entry(key: key, dtype: dtype, shape: shape, bytes: offsets[0]..<offsets[1])
        guard let count = elementCount(shape),
            case (let bytes, false) = count.multipliedReportingOverflow(by: bytesPerElement[dtype] ?? 1)
        else {
            throw .shapeOverflow(key: key, shape: shape)
        }
        guard bytesPerElement[dtype] != nil else { return entry }
        guard bytes == entry.bytes.count else {
            throw .sizeMismatch(
                key: key, dtype: dtype, shape: shape, expected: bytes, found: entry.bytes.count)
        }
        return entry
    }

    private static func counts(_ value: JSONValue) -> [Int]? {
        guard let elements = value.elements else { return nil }
        let counts = elements.compactMap(\.count)
        return counts.count == elements.count ? counts : nil
    }

    /// Sorts the entries by position. Overlaps and gaps are errors, as in the reference implementation.
    private static func inOrder(_ entries: [Entry], dataBytes: Int) throws(SafetensorsFault) -> [Entry] {
        let sorted = entries.sorted {
            ($0.bytes.lowerBound, $0.bytes.upperBound) < ($1.bytes.lowerBound, $1.bytes.upperBound)
        }
        var end = 0
        var previous = ""
        for entry in sorted {
            if entry.bytes.lowerBound < end { throw .overlap(key: entry.key, with: previous) }
            if entry.bytes.lowerBound > end { throw .unusedBytes(begin: end, end: entry.bytes.lowerBound) }
            end = entry.bytes.upperBound
            previous = entry.key
        }
        if end != dataBytes { throw .unusedBytes(begin: end, end: dataBytes) }
        return sorted
    }
}
