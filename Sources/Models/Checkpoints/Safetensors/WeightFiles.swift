// SPDX-License-Identifier: Apache-2.0
// The weight files of one model folder, found as diffusers and transformers look for them, where the stem is
// `diffusion_pytorch_model` or `model`:
//
//     STEM[.VARIANT].safetensors
//     STEM.safetensors.index[.VARIANT].json            with the shards that it names

import Files
import Foundation

/// The weights of one folder, open for reading.
struct WeightFiles {
    let source: any TensorSource
    /// The files that were opened: the weights, or index and shards.
    let files: [String]
    /// The variant that was found, "" for none.
    let variant: String

    /// Opens the first of `variants` ("" for none) that exists.
    ///
    /// - Throws: `WeightFilesError` where there is none; what reading safetensors throws;
    ///   `CheckpointError.scaledFloat8`.
    static func open(in folder: String, stem: String, variants: [String], asked: String?) throws -> WeightFiles {
        for variant in variants {
            if let found = try open(in: folder, stem: stem, variant: variant) { return found }
        }
        throw reason(in: folder, stem: stem, asked: asked)
    }

    /// The weights of one variant, a sharded index first, as diffusers looks; nil where there are none.
    static func open(in folder: String, stem: String, variant: String) throws -> WeightFiles? {
        let infix = variant.isEmpty ? "" : "." + variant
        let base = folder + "/" + stem
        for index in ["\(base).safetensors.index\(infix).json", "\(base)\(infix).safetensors.index.json"] {
            guard try FilePresence(index).exists() else { continue }
            let shards = try ShardedSafetensors(index: index)
            return try WeightFiles(shards, [index] + shards.shardPaths, variant)
        }
        let single = "\(base)\(infix).safetensors"
        guard try FilePresence(single).exists() else { return nil }
        return try WeightFiles(SafetensorsReader(single), [single], variant)
    }

    private init(_ source: any TensorSource, _ files: [String], _ variant: String) throws {
        if let key = Float8Scales.key(in: source) {
            throw CheckpointError.scaledFloat8(file: source.path, key: key)
        }
        self.source = source
        self.files = files
        self.variant = variant
    }

    /// Why `open` found nothing.
    static func reason(in folder: String, stem: String, asked: String?) -> WeightFilesError {
        let names = ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted(by: byBytes)
        let weights = names.compactMap { name in WeightFileName(name, stem: stem).map { (name, $0) } }
        let whole = weights.filter { !$0.1.isShard }.map(\.1.variant)
        let indexed = names.compactMap { name in WeightFileName.indexVariant(name, stem: stem) }
        let present = Set(whole + indexed).sorted(by: byBytes)
        if !present.isEmpty { return .otherVariants(folder: folder, asked: asked, present: present) }
        let shards = weights.filter(\.1.isShard).map(\.0)
        if !shards.isEmpty {
            return .missingIndex(folder: folder, index: stem + ".safetensors.index.json", shards: shards)
        }
        let pickles = names.filter { name in [".bin", ".ckpt", ".pt", ".pth"].contains { name.hasSuffix($0) } }
        let others = names.filter { $0.hasSuffix(".safetensors") }
        if let lora = others.first(where: { isLoRA(folder + "/" + $0) }) { return .lora(file: folder + "/" + lora) }
        if others.isEmpty && !pickles.isEmpty { return .pickles(folder: folder, stem: stem, files: pickles) }
        let foreign = names.filter { name in [".msgpack", ".h5", ".onnx", ".gguf"].contains { name.hasSuffix($0) } }
        return .none(folder: folder, expected: stem + ".safetensors", files: others + pickles + foreign)
    }

    private static func isLoRA(_ path: String) -> Bool {
        (try? SafetensorsReader(path)).map { LoRAKeys.isLoRA($0.keys) } ?? false
    }
}

/// A weight file's name in its parts: STEM[.VARIANT][-0000I-of-0000N][.VARIANT].safetensors.
struct WeightFileName: Equatable {
    let variant: String
    let isShard: Bool

    init?(_ name: String, stem: String) {
        let suffix = ".safetensors"
        guard name.hasPrefix(stem), name.hasSuffix(suffix), name.utf8.count >= stem.utf8.count + suffix.utf8.count
        else { return nil }
        var middle = String(name.dropFirst(stem.count).dropLast(suffix.count))
        if let shard = middle.firstRange(of: #/-\d{5}-of-\d{5}/#) {
            middle.removeSubrange(shard)
            isShard = true
        } else {
            isShard = false
        }
        guard middle.isEmpty || middle.hasPrefix(".") else { return nil }
        variant = String(middle.dropFirst())
    }

    /// The variant of a shard index, "" for none; nil for other files.
    static func indexVariant(_ name: String, stem: String) -> String? {
        let pattern = #/(?:\.(?<before>[^.]+))?\.safetensors\.index(?:\.(?<after>[^.]+))?\.json/#
        guard name.hasPrefix(stem), let match = name.dropFirst(stem.count).wholeMatch(of: pattern) else { return nil }
        return String(match.before ?? match.after ?? "")
    }
}
