// SPDX-License-Identifier: Apache-2.0
// What can be wrong with the header of a safetensors file, or with the index of a sharded one, as facts.

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
    /// The index says that `key` lies in `shard`; it does not.
    case notInShard(key: String, shard: String)
    /// `shard` holds `key`, which the index does not give to it.
    case notInIndex(key: String, shard: String)
}
