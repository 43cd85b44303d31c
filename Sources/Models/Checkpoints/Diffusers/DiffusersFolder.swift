// SPDX-License-Identifier: Apache-2.0
// Folders that diffusers writes (ModelMixin.save_pretrained, DiffusionPipeline.save_pretrained):
//
//     config.json                                          a UNet folder
//     diffusion_pytorch_model[.fp16].safetensors
//
//     config.json                                          a UNet folder with sharded weights
//     diffusion_pytorch_model.safetensors.index[.fp16].json
//     diffusion_pytorch_model[.fp16]-0000i-of-0000n.safetensors
//
//     unet/ (one of the above), scheduler/scheduler_config.json, model_index.json      a pipeline folder

import Files
import Foundation

/// A UNet in a diffusers folder, open for reading.
public struct DiffusersFolder: Sendable {
    /// The folder of the UNet: the given folder, or `unet/` in it.
    public let path: String
    /// The UNet's `config.json`, byte for byte.
    public let config: String
    /// The pipeline's `scheduler_config.json`, byte for byte; nil if there is none.
    public let scheduler: String?
    /// The tensors of the UNet.
    public let weights: any TensorSource
    /// The paths of all files that were read, for manifests: config, weights (index and shards), scheduler.
    public let files: [String]

    /// Opens a UNet folder or a pipeline folder.
    ///
    /// - Parameters:
    ///   - path: the folder.
    ///   - variant: the variant of the weights, such as "fp16"; nil: the weights without variant, or else "fp16".
    /// - Throws: `FileError.missingFile`, `.unreadable`, or `.wrongKind` if it is not a diffusers folder; `JSONError`;
    ///   `CheckpointError.noWeights` if there are no weights in a supported format; what `SafetensorsReader` and
    ///   `ShardedSafetensors` throw.
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

    /// The weights of one variant ("": without variant), and the paths of their files; nil if there are none. As in
    /// diffusers, an index of shards takes precedence.
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
        // For the folder `unet/` of a pipeline, the scheduler is in the sibling folder.
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

/// The file names of diffusers.
enum DiffusersName {
    static let config = "config.json"
    static let weights = "diffusion_pytorch_model"
    static let scheduler = "scheduler/scheduler_config.json"
}
