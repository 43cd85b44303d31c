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
    /// The UNet's `config.json`, without a byte order mark.
    public let config: String
    /// The pipeline's `scheduler_config.json`, without a byte order mark, if there is one.
    public let scheduler: String?
    /// The tensors of the UNet.
    public let weights: any TensorSource
    /// The paths of all files that were read, for manifests: config, weights (index and shards), scheduler.
    public let files: [String]

    /// Opens a UNet folder or a pipeline folder.
    ///
    /// - Parameters:
    ///   - path: the folder.
    ///   - variant: which weights to take where there are several ("fp16"); nil takes those without a variant, then
    ///     fp16.
    /// - Throws: `FileError`: `.missingFile`; `.wrongKind` where it is no such folder; `WeightFilesError` where the
    ///   weights are not found; `JSONError`; what reading safetensors throws.
    public init(_ path: String, variant: String? = nil) throws {
        let found = try FileInspection(path)
        guard found.kind == .folder else {
            throw FileError.wrongKind(path: path, expected: .diffusersFolder, found: found.kind)
        }
        // A pipeline folder may hold a config.json of its own, as old repositories do: model_index.json decides.
        let isPipeline =
            Self.exists(path + "/unet/config.json")
            && (!Self.exists(path + "/config.json") || Self.exists(path + "/model_index.json"))
        let folder = isPipeline ? path + "/unet" : path
        guard Self.exists(folder + "/config.json") else {
            throw FileError.wrongKind(path: path, expected: .diffusersFolder, found: .folder)
        }
        self.path = folder
        config = try TextDocument.object(folder + "/config.json").text
        let schedulerPath = Self.schedulerPath(pipeline: isPipeline, folder: path)
        scheduler = try schedulerPath.map { path throws in try TextDocument.object(path).text }

        let weights = try WeightFiles.open(
            in: folder, stem: DiffusersName.weights, variants: variant.map { [$0] } ?? ["", "fp16"], asked: variant)
        self.weights = weights.source
        files = [folder + "/config.json"] + weights.files + (schedulerPath.map { [$0] } ?? [])
    }

    private static func schedulerPath(pipeline: Bool, folder: String) -> String? {
        let inside = folder + "/" + DiffusersName.scheduler
        if exists(inside) { return inside }
        // `unet/` of a pipeline given by itself: its scheduler is in a sibling folder.
        let beside = folder + "/../" + DiffusersName.scheduler
        guard !pipeline, exists(folder + "/../model_index.json"), exists(beside) else { return nil }
        return beside
    }

    private static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }
}

/// The file names of diffusers.
enum DiffusersName {
    static let config = "config.json"
    static let modelIndex = "model_index.json"
    static let weights = "diffusion_pytorch_model"
    static let textEncoderWeights = "model"
    static let scheduler = "scheduler/scheduler_config.json"
}
