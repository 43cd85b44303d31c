// SPDX-License-Identifier: Apache-2.0
// Writes a folder that diffusers loads with `UNet2DConditionModel.from_pretrained(folder)`: config.json as it was
// given, the weights in one safetensors file, and the scheduler's config below it where there is one.

import Files
import Foundation
import Tensors

/// A diffusers UNet folder being written. Each file appears when it is complete, `config.json` last.
public final class DiffusersFolderWriter {
    private let folder: String
    private let config: String
    private let scheduler: String?
    private let weights: SafetensorsWriter
    private let tensors: [String: StoredTensor]

    /// Creates the folder, if it is not there, and begins the weights.
    ///
    /// - Parameters:
    ///   - folder: the folder to create; its parent must exist.
    ///   - config: the UNet's `config.json`.
    ///   - scheduler: the `scheduler_config.json`, if there is one.
    ///   - tensors: every tensor that will be written, by diffusers key.
    /// - Throws: `FileError.cannotCreate` where no folder can be made, or where one lies there with sharded or
    ///   other weights that diffusers would load in place of these.
    public init(
        _ folder: String, config: String, scheduler: String?, tensors: [String: StoredTensor]
    ) throws {
        self.folder = folder
        self.config = config
        self.scheduler = scheduler
        self.tensors = tensors
        try Self.makeFolder(folder)
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        for name in names.sorted(by: byBytes)
        where name.hasPrefix(DiffusersName.weights) && name.contains(".index") {
            throw FileError.cannotCreate(path: folder + "/" + name, code: EEXIST)
        }
        weights = try SafetensorsWriter(
            folder + "/" + DiffusersName.weights + ".safetensors", tensors: tensors)
    }

    /// Writes the elements of `key`, row-major, little-endian, of the announced type.
    ///
    /// - Throws: `FileError.writeFailed`.
    public func write(_ key: String, bytes: UnsafeRawBufferPointer) throws {
        try weights.write(key, bytes)
    }

    /// Writes `tensor` in the announced float type of `key`, rounded to nearest even.
    ///
    /// - Precondition: `key` was announced with the shape of `tensor` and a float type.
    /// - Throws: `CheckpointError.exceedsType`, `.writeFailed`.
    public func write(_ key: String, _ tensor: Tensor) throws {
        guard let announced = tensors[key], let type = announced.type?.elementType,
            announced.shape == tensor.shape
        else { preconditionFailure("diffusers folder: \(key) \(tensor.shape) was not announced so") }
        let bytes = try encode(tensor, as: type, key: key, file: folder)
        try bytes.withUnsafeBytes { buffer in
            Result { () throws in try weights.write(key, buffer) }
        }.get()
    }

    /// Completes the weights, then writes the configs.
    ///
    /// - Precondition: every announced tensor has been written.
    /// - Throws: `FileError.writeFailed`, `.cannotCreate`.
    public func finish() throws {
        try weights.finish()
        if let scheduler {
            try Self.makeFolder(folder + "/scheduler")
            try AtomicFile.write(scheduler, to: folder + "/" + DiffusersName.scheduler)
        }
        try AtomicFile.write(config, to: folder + "/" + DiffusersName.config)
    }

    private static func makeFolder(_ path: String) throws {
        if mkdir(path, 0o777) == 0 { return }
        let code = errno
        var status = stat()
        guard code == EEXIST, stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw FileError.cannotCreate(path: path, code: code)
        }
    }
}
