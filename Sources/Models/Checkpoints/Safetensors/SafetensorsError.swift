// SPDX-License-Identifier: Apache-2.0
// Errors of safetensors files and shard indices.

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

/// An error in a safetensors header or shard index. Offsets are in bytes from the start of the data, after the header,
/// unless stated otherwise.
public enum SafetensorsFault: Error, Equatable, Sendable {
    // Length and syntax of the header
    /// The file has fewer than the 8 bytes that contain the length of the header.
    case tooShort(bytes: Int)
    /// The length of the header exceeds the limit of the format, 100,000,000 bytes.
    case headerTooLarge(bytes: UInt64, limit: Int)
    /// The length of the header exceeds the number of bytes after it.
    case headerBeyondFile(bytes: UInt64, available: Int)
    /// The header is not a JSON object; `offset` is in bytes from the start of the header.
    case syntax(offset: Int, expected: String)
    case notUTF8
    case duplicateKey(String)

    // One entry
    /// The field `field` of the entry `key` is missing or invalid.
    case field(key: String, field: String, expected: String)
    /// The number of elements, or their size in bytes, does not fit into 63 bits.
    case shapeOverflow(key: String, shape: [Int])
    /// The byte range of the entry is negative or exceeds the data.
    case outOfRange(key: String, begin: Int, end: Int, dataBytes: Int)
    /// The number of bytes of the entry does not match its type and shape.
    case sizeMismatch(key: String, dtype: String, shape: [Int], expected: Int, found: Int)

    // Several entries
    /// The byte ranges of two entries overlap.
    case overlap(key: String, with: String)
    /// The bytes `begin..<end` do not belong to any entry.
    case unusedBytes(begin: Int, end: Int)

    // Shards
    /// The index contains a shard name that is not a plain file name. Shards must be in the folder of the index.
    case shardName(String)
    /// The index lists `key` in `shard`, which does not contain it.
    case notInShard(key: String, shard: String)
    /// `shard` contains `key`, but the index does not list it there.
    case notInIndex(key: String, shard: String)
}

extension SafetensorsFault: CustomStringConvertible {
    public var description: String {
        switch self {
        case .tooShort(let bytes):
            "not a safetensors file: expected at least 8 bytes, found \(bytes)"
        case .headerTooLarge(let bytes, let limit):
            "header claims \(bytes) bytes, the format allows \(limit); not a safetensors file, or damaged"
        case .headerBeyondFile(let bytes, let available):
            "header claims \(bytes) bytes, \(available) follow; the file is incomplete, or not a safetensors file"
        case .syntax(let offset, let expected):
            "header is not valid JSON: expected \(expected) at byte \(offset)"
        case .notUTF8:
            "header is not UTF-8"
        case .duplicateKey(let key):
            "header has the key \(key.quoted) twice"
        case .field(let key, let field, let expected):
            "header entry \(key.quoted)" + (field.isEmpty ? "" : ", field \(field.quoted)") + ": expected \(expected)"
        case .shapeOverflow(let key, let shape):
            "tensor \(named(key)) has the impossible shape \("\(shape)".shortened)"
        case .outOfRange(let key, let begin, let end, let dataBytes):
            "tensor \(named(key)) is stored at bytes \(begin)..<\(end) of \(dataBytes); the file is incomplete "
                + "or damaged"
        case .sizeMismatch(let key, let dtype, let shape, let expected, let found):
            "tensor \(named(key)) of type \(named(dtype)) and shape \("\(shape)".shortened): expected \(expected) "
                + "bytes, found \(found)"
        case .overlap(let key, let with):
            "tensors \(named(with)) and \(named(key)) share bytes"
        case .unusedBytes(let begin, let end):
            "data bytes \(begin)..<\(end) belong to no tensor; the file is damaged"
        case .shardName(let name):
            "index names the shard \(name.quoted), which is not a plain file name"
        case .notInShard(let key, let shard):
            "index lists tensor \(named(key)) in \(named(shard)), which does not contain it"
        case .notInIndex(let key, let shard):
            "shard \(shard) contains tensor \(named(key)), which the index does not list there"
        }
    }
}
