// SPDX-License-Identifier: Apache-2.0
// Writes a folder that diffusers loads with `UNet2DConditionModel.from_pretrained(folder)`: config.json without
// changes, the weights in one safetensors file, and the config of the scheduler, if there is one, in `scheduler/`.

import Files
import Foundation
import Tensors

/// Writes a diffusers UNet folder. Each file exists under its name only when it is complete; `config.json` is the last.
public final class DiffusersFolderWriter {
    private let folder: String
    private let config: String
    private let scheduler: String?
    private let weights: SafetensorsWriter
    private let tensors: [String: StoredTensor]

    /// Creates the folder if it does not exist, and the file of the weights.
    ///
    /// - Parameters:
    ///   - folder: the path to create; its parent folder must exist.
    ///   - config: the UNet's `config.json`.
    ///   - scheduler: the `scheduler_config.json`; nil if there is none.
    ///   - tensors: type and shape of all tensors to write, by diffusers key.
    /// - Throws: `FileError.cannotCreate` if the folder cannot be created, or if it contains sharded weights, which
    ///   diffusers would load instead; what `SafetensorsWriter` throws.
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

    /// Writes the elements of `key`, row-major and little-endian, in the type given to the initializer.
    ///
    /// - Precondition: as `SafetensorsWriter.write(_:_:)`.
    /// - Throws: `FileError.writeFailed`.
    public func write(_ key: String, bytes: UnsafeRawBufferPointer) throws {
        try weights.write(key, bytes)
    }

    /// Writes `tensor` as `key`, rounded to nearest even to the type given to the initializer.
    ///
    /// - Precondition: the initializer's `tensors` has `key` with the shape of `tensor` and a float type.
    /// - Throws: `CheckpointError.exceedsType`, `FileError.writeFailed`.
    public func write(_ key: String, _ tensor: Tensor) throws {
        guard let announced = tensors[key], let type = announced.type?.elementType,
            announced.shape == tensor.shape
        else { preconditionFailure("diffusers folder: \(key) \(tensor.shape) is not a tensor of this file") }
        let bytes = try encode(tensor, as: type, key: key, file: folder)
        try bytes.withUnsafeBytes { buffer in
            Result { () throws in try weights.write(key, buffer) }
        }.get()
    }

    /// Completes the weights, then writes the configs.
    ///
    /// - Precondition: all tensors have been written.
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
