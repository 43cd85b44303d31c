// SPDX-License-Identifier: Apache-2.0
// Faults of safetensors files and shard indices, with their texts.

import Files

/// A safetensors file or shard index that is not valid.
public struct SafetensorsError: Error, Equatable, Sendable {
    public let file: String
    public let fault: SafetensorsFault

    public init(file: String, fault: SafetensorsFault) {
        self.file = file
        self.fault = fault
    }
}

extension SafetensorsError: CategorizedError {
    public var category: ErrorCategory { .badData }
    public var description: String { "\(file): \(fault)" }
}

/// A defect of a safetensors header or shard index. Offsets count bytes from the start of the data, header excluded,
/// unless said otherwise.
public enum SafetensorsFault: Error, Equatable, Sendable {
    // The frame
    /// Fewer than the 8 bytes that hold the header's length.
    case tooShort(bytes: Int)
    /// The header claims more than the format's limit of 100,000,000 bytes.
    case headerTooLarge(bytes: UInt64, limit: Int)
    /// The header claims more bytes than follow it in the file.
    case headerBeyondFile(bytes: UInt64, available: Int)
    /// The header is no JSON object; `offset` counts from the header's first byte.
    case syntax(offset: Int, expected: String)
    case notUTF8
    case duplicateKey(String)

    // One entry
    /// `field` of the entry `key` is missing or not what it must be.
    case field(key: String, field: String, expected: String)
    /// The product of the shape, or its size in bytes, does not fit into 63 bits.
    case shapeOverflow(key: String, shape: [Int])
    /// The entry's bytes are reversed or end behind the data.
    case outOfRange(key: String, begin: Int, end: Int, dataBytes: Int)
    /// The entry has another number of bytes than its type and shape take.
    case sizeMismatch(key: String, dtype: String, shape: [Int], expected: Int, found: Int)

    // Entries together
    /// `key` begins before the entry ahead of it ends.
    case overlap(key: String, with: String)
    /// Bytes `begin..<end` belong to no entry.
    case unusedBytes(begin: Int, end: Int)

    // Shards
    /// The index names a shard that is not a plain file name in its own folder.
    case shardName(String)
    /// The index names `shard` for `key`, but the shard does not contain it.
    case notInShard(key: String, shard: String)
    /// `shard` holds `key`, which the index does not give to it.
    case notInIndex(key: String, shard: String)
}

extension SafetensorsFault: CustomStringConvertible {
    public var description: String {
        switch self {
        case .tooShort(let bytes):
            "not a safetensors file: \(bytes) bytes, and the header's length alone takes 8"
        case .headerTooLarge(let bytes, let limit):
            "header claims \(bytes) bytes, the format allows \(limit); not a safetensors file, or damaged"
        case .headerBeyondFile(let bytes, let available):
            "header claims \(bytes) bytes, \(available) follow; the file is incomplete or no safetensors file"
        case .syntax(let offset, let expected):
            "header is not valid JSON: expected \(expected) at byte \(offset)"
        case .notUTF8:
            "header is not UTF-8"
        case .duplicateKey(let key):
            "header has the key \"\(key)\" twice"
        case .field(let key, let field, let expected):
            "header entry \"\(key)\"\(field.isEmpty ? "" : ", field \"\(field)\""): expected \(expected)"
        case .shapeOverflow(let key, let shape):
            "tensor \(key) has the impossible shape \(shape)"
        case .outOfRange(let key, let begin, let end, let dataBytes):
            "tensor \(key) is at bytes \(begin)..<\(end) of \(dataBytes); the file is incomplete or damaged"
        case .sizeMismatch(let key, let dtype, let shape, let expected, let found):
            "tensor \(key) of type \(dtype) and shape \(shape): expected \(expected) bytes, found \(found)"
        case .overlap(let key, let with):
            "tensors \(with) and \(key) share bytes"
        case .unusedBytes(let begin, let end):
            "data bytes \(begin)..<\(end) belong to no tensor; the file is damaged"
        case .shardName(let name):
            "index names the shard \"\(name)\", which is not a file name in its own folder"
        case .notInShard(let key, let shard):
            "index places tensor \(key) in \(shard), which does not hold it"
        case .notInIndex(let key, let shard):
            "shard \(shard) holds tensor \(key), which the index does not place there"
        }
    }
}
