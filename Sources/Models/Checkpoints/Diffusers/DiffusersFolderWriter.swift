// SPDX-License-Identifier: Apache-2.0
// Writes a folder that diffusers loads with `from_pretrained(folder)`: a pipeline, with each component in a folder of
// its own, or one component by itself. Configs are written without changes, the weights of a network in one safetensors
// file.

import Files
import Foundation
import Tensors

/// Writes a diffusers folder. All files have temporary names until `finish()`, which renames them: weights first, then
/// texts in the order in which they were added. Without `finish()`, the folder is as before.
public final class DiffusersFolderWriter {
    /// The path of the folder.
    public let path: String
    /// In the folder, because its parent folder may not be writable. Hidden files do not count as content.
    private var lock: OutputLock?
    private var newFolders: [String] = []
    private var weights: [SafetensorsWriter] = []
    private var texts: [PendingFile] = []
    private var obsolete: [String] = []
    /// Of the network that was added last.
    private var tensors: [String: StoredTensor] = [:]

    /// Creates the folder if it does not exist.
    ///
    /// - Parameters:
    ///   - path: the folder; its parent folder must exist.
    ///   - overwrites: whether a folder with files, other than hidden ones, is accepted. Files of the new names are
    ///     replaced, and files that diffusers or transformers would read in place of the new ones are removed.
    /// - Throws: `FileError.cannotCreate`, `.inUse`; `DiffusersFolderError.notEmpty`.
    public init(_ path: String, overwrites: Bool = false) throws {
        self.path = path
        try makeFolder(path)
        lock = try Self.lock(path)
        if !overwrites, let name = Self.names(in: path).first(where: { !$0.hasPrefix(".") }) {
            throw DiffusersFolderError.notEmpty(folder: path, file: name)
        }
    }

    private static func lock(_ path: String) throws -> OutputLock {
        do {
            return try OutputLock(path + "/.bitsfusion")
        } catch {
            if case .inUse = error { throw FileError.inUse(path: path) }
            throw error
        }
    }

    deinit {
        weights = []
        texts = []
        lock = nil
        // Fails for folders that are not empty, so that complete files and files of others are kept.
        for folder in newFolders.reversed() { rmdir(folder) }
    }

    /// Adds a network: its config, and the file of its weights, which `write` fills until the next network is added.
    ///
    /// - Parameters:
    ///   - name: the component, such as `unet` or `text_encoder`.
    ///   - folder: the folder of the network below this one; empty for a network by itself.
    ///   - config: the text of `config.json`.
    ///   - tensors: type and shape of all tensors to write, by the keys of diffusers and transformers.
    /// - Throws: `FileError`; `DiffusersFolderError.pipelineFolder` for a network by itself in a pipeline's folder;
    ///   what `SafetensorsWriter` throws.
    public func addNetwork(
        _ name: String, in folder: String = "", config: String, tensors: [String: StoredTensor]
    ) throws {
        if folder.isEmpty, try FilePresence(path + "/" + DiffusersName.modelIndex).exists() {
            throw DiffusersFolderError.pipelineFolder(folder: path, component: name)
        }
        let home = try makeSubfolder(folder), stem = DiffusersName.weightsStem(of: name)
        weights.append(try SafetensorsWriter(home + "/" + stem + ".safetensors", tensors: tensors))
        // Diffusers prefers sharded weights.
        obsolete += Self.names(in: home).filter { WeightFileName.indexVariant($0, stem: stem) == "" }
            .map { home + "/" + $0 }
        self.tensors = tensors
        try addText(config, to: folder, as: DiffusersName.config)
    }

    /// Writes the elements of `key`, row-major and little-endian, in the type given to `addNetwork`.
    ///
    /// - Precondition: a network was added; as `SafetensorsWriter.write(_:_:)`.
    /// - Throws: `FileError.writeFailed`.
    public func write(_ key: String, bytes: UnsafeRawBufferPointer) throws {
        guard let file = weights.last else { preconditionFailure("diffusers folder: \(key) before its network") }
        try file.write(key, bytes)
    }

    /// Writes `tensor` as `key`, rounded to nearest even to the type given to `addNetwork`.
    ///
    /// - Precondition: the `tensors` of the network have `key` with the shape of `tensor` and a float type.
    /// - Throws: `CheckpointError.exceedsType`, `FileError.writeFailed`.
    public func write(_ key: String, _ tensor: Tensor) throws {
        guard let announced = tensors[key], let type = announced.type?.elementType,
            announced.shape == tensor.shape
        else { preconditionFailure("diffusers folder: \(key) \(tensor.shape) is not a tensor of this file") }
        let bytes = try encode(tensor, as: type, key: key, file: path)
        try bytes.withUnsafeBytes { buffer in
            Result { () throws in try write(key, bytes: buffer) }
        }.get()
    }

    /// Adds text files.
    ///
    /// - Parameters:
    ///   - texts: the texts by file name.
    ///   - folder: their folder below this one; empty for this one.
    ///   - names: all files that belong together. Those that are not in `texts` are removed, because they would be read
    ///     with the new ones.
    /// - Throws: `FileError`.
    public func addTexts(_ texts: [String: String], to folder: String, replacing names: [String] = []) throws {
        for (name, text) in texts.sorted(by: { byBytes($0.key, $1.key) }) {
            try addText(text, to: folder, as: name)
        }
        obsolete += names.filter { texts[$0] == nil }.map { path + "/" + folder + "/" + $0 }
    }

    /// Completes all files.
    ///
    /// - Precondition: all tensors have been written.
    /// - Throws: `FileError.writeFailed`.
    public func finish() throws {
        for file in weights { try file.finish() }
        for file in obsolete where unlink(file) != 0 && errno != ENOENT {
            throw FileError.writeFailure(file, errno)
        }
        for file in texts { try file.commit() }
    }

    private func addText(_ text: String, to folder: String, as name: String) throws {
        let file = try PendingFile(makeSubfolder(folder) + "/" + name)
        try file.write(Array(text.utf8), at: 0)
        texts.append(file)
    }

    private func makeSubfolder(_ name: String) throws -> String {
        guard !name.isEmpty else { return path }
        try makeFolder(path + "/" + name)
        return path + "/" + name
    }

    private func makeFolder(_ path: String) throws {
        if mkdir(path, 0o777) == 0 {
            newFolders.append(path)
            return
        }
        let code = errno
        var status = stat()
        guard code == EEXIST, stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw FileError.cannotCreate(path: path, code: code)
        }
    }

    private static func names(in folder: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted(by: byBytes)
    }
}
