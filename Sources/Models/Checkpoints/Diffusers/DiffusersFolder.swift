// SPDX-License-Identifier: Apache-2.0
// Folders as diffusers saves them (ModelMixin.save_pretrained, DiffusionPipeline.save_pretrained):
//
//     config.json                                          a UNet folder
//     diffusion_pytorch_model[.fp16].safetensors
//
//     config.json                                          ... in shards
//     diffusion_pytorch_model.safetensors.index[.fp16].json
//     diffusion_pytorch_model[.fp16]-0000i-of-0000n.safetensors
//
//     unet/ (one of the above), scheduler/scheduler_config.json, model_index.json      a pipeline folder

import Files
import Foundation

/// A UNet in a diffusers folder, open for reading.
public struct DiffusersFolder: Sendable {
    /// The folder of the UNet: the given folder, or `unet/` below it.
    public let path: String
    /// The UNet's `config.json`, byte for byte.
    public let config: String
    /// The pipeline's `scheduler_config.json`, byte for byte, if there is one.
    public let scheduler: String?
    /// The UNet's tensors.
    public let weights: any TensorSource
    /// Every file that was read, for manifests: config, weights (index and shards), scheduler.
    public let files: [String]

    /// Opens a UNet folder or a pipeline folder.
    ///
    /// - Parameters:
    ///   - path: the folder.
    ///   - variant: which weights to take where there are several ("fp16"); nil takes those without a variant, then
    ///     fp16.
    /// - Throws: `CheckpointError`: `.missingFile`; `.wrongKind` where it is no such folder; `.noWeights` where only
    ///   formats lie there that are not read, or none; `.json`; what reading safetensors throws.
    public init(_ path: String, variant: String? = nil) throws {
        let found = try FileInspection(path)
        guard found.kind == .folder else {
            throw FileError.wrongKind(path: path, expected: .diffusersFolder, found: found.kind)
        }
        let isPipeline = !Self.exists(path + "/config.json") && Self.exists(path + "/unet/config.json")
        let folder = isPipeline ? path + "/unet" : path
        guard Self.exists(folder + "/config.json") else {
            throw FileError.wrongKind(path: path, expected: .diffusersFolder, found: .folder)
        }
        self.path = folder
        config = try Self.document(folder + "/config.json")
        let schedulerPath = Self.schedulerPath(pipeline: isPipeline, folder: path)
        scheduler = try schedulerPath.map { path throws in try Self.document(path) }

        let variants = variant.map { [$0] } ?? ["", "fp16"]
        var opened: (any TensorSource, [String])?
        for variant in variants where opened == nil {
            opened = try Self.weights(in: folder, variant: variant)
        }
        guard let opened else {
            throw CheckpointError.noWeights(folder: folder, present: Self.otherWeights(in: folder))
        }
        weights = opened.0
        files = [folder + "/config.json"] + opened.1 + (schedulerPath.map { [$0] } ?? [])
    }

    /// The weights of one variant ("" for none), a sharded index first, as diffusers looks.
    private static func weights(
        in folder: String, variant: String
    ) throws -> (any TensorSource, [String])? {
        let infix = variant.isEmpty ? "" : "." + variant
        let base = folder + "/" + DiffusersName.weights
        for index in [base + ".safetensors.index\(infix).json", base + "\(infix).safetensors.index.json"]
        where exists(index) {
            let shards = try ShardedSafetensors(index: index)
            return (shards, [index] + shards.shardPaths)
        }
        let single = base + infix + ".safetensors"
        guard exists(single) else { return nil }
        return (try SafetensorsReader(single), [single])
    }

    private static func schedulerPath(pipeline: Bool, folder: String) -> String? {
        let name = "scheduler/scheduler_config.json"
        let inside = folder + "/" + name
        if exists(inside) { return inside }
        // If `unet/` of a pipeline was given, the scheduler is in a folder next to it.
        guard !pipeline, exists(folder + "/../model_index.json"), exists(folder + "/../" + name) else {
            return nil
        }
        return folder + "/../" + name
    }

    private static func otherWeights(in folder: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return names.filter { name in
            [".bin", ".ckpt", ".msgpack", ".h5", ".pt", ".pth", ".safetensors"].contains {
                name.hasSuffix($0)
            }
        }.sorted(by: byBytes)
    }

    private static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

    private static func document(_ path: String) throws -> String {
        let bytes = try AtomicFile.read(path)
        let name = PathParts(path).name
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw JSONError(file: path, document: name, fault: .notUTF8)
        }
        try JSONError.checkObject(text, file: path, document: name)
        return text
    }
}

/// File names that diffusers looks for.
enum DiffusersName {
    static let config = "config.json"
    static let weights = "diffusion_pytorch_model"
    static let scheduler = "scheduler/scheduler_config.json"
}
