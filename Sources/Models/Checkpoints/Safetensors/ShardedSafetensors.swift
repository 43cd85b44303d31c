// SPDX-License-Identifier: Apache-2.0
// Weights in several safetensors files with an index, as diffusers and transformers save models of more than 10 GB:
//
//     {"metadata": {"total_size": ...}, "weight_map": {key: "diffusion_pytorch_model-00001-of-00002.safetensors", ...}}

import Files
import Foundation

/// The tensors of all shards of an index.
public final class ShardedSafetensors: TensorSource {
    /// The index file.
    public let path: String
    public let keys: [String]
    /// The paths of the shards, sorted.
    public let shardPaths: [String]
    private let shards: [String: SafetensorsReader]
    private let shardOfKey: [String: String]

    /// Opens the index at `path` and all its shards, which must be in the folder of the index.
    ///
    /// - Throws: `JSONError` where the index is no such document, `.safetensors` where index and shards
    ///   disagree, `WeightFilesError` for a shard that is not there, and what `SafetensorsReader` throws.
    public init(index path: String) throws {
        self.path = path
        let map = try Self.weightMap(path)
        let parts = PathParts(path)
        var shards: [String: SafetensorsReader] = [:]
        for name in Set(map.values).sorted(by: byBytes) {
            // Indices can come from untrusted sources and must not refer to files outside of their folder.
            guard !name.isEmpty, !name.contains("/"), !name.contains("\\"), name != "..", name != "." else {
                throw SafetensorsError(file: path, fault: .shardName(name))
            }
            guard try FilePresence(parts.sibling(name)).exists() else {
                throw WeightFilesError.missingShard(index: path, shard: name)
            }
            let shard = try SafetensorsReader(parts.sibling(name))
            for key in shard.keys where map[key] != name {
                throw SafetensorsError(file: path, fault: .notInIndex(key: key, shard: name))
            }
            shards[name] = shard
        }
        for (key, name) in map.sorted(by: { byBytes($0.key, $1.key) }) where shards[name]?.stored(key) == nil {
            throw SafetensorsError(file: path, fault: .notInShard(key: key, shard: name))
        }
        self.shards = shards
        shardPaths = shards.values.map(\.path).sorted(by: byBytes)
        shardOfKey = map
        keys = map.keys.sorted(by: byBytes)
    }

    public func stored(_ key: String) -> StoredTensor? { shard(of: key)?.stored(key) }

    public func read(_ key: String, into buffer: UnsafeMutableRawBufferPointer) throws {
        guard let shard = shard(of: key) else { throw CheckpointError.missingKey(file: path, key: key) }
        try shard.read(key, into: buffer)
    }

    private func shard(of key: String) -> SafetensorsReader? { shardOfKey[key].flatMap { shards[$0] } }

    private static func weightMap(_ path: String) throws -> [String: String] {
        let text = try TextDocument.text(path)
        let document: JSONValue
        do throws(JSONFault) {
            document = try JSONValue(Array(text.utf8))
        } catch {
            throw JSONError(file: path, document: "the shard index", fault: error)
        }
        guard let members = document["weight_map"]?.members else {
            throw JSONError(
                file: path, document: "the shard index", fault: .syntax(offset: 0, expected: "a weight_map"))
        }
        var map: [String: String] = [:]
        for member in members {
            guard let name = member.value.text else {
                throw SafetensorsError(
                    file: path, fault: .field(key: member.key, field: "weight_map", expected: "a file name"))
            }
            map[member.key] = name
        }
        return map
    }
}
