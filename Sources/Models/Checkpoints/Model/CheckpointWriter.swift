// SPDX-License-Identifier: Apache-2.0
// Writes a checkpoint tensor by tensor, so that no second copy of the model is in memory.

import Files
import Foundation
import Tensors

/// Writes a checkpoint. The file exists under its name only after `finish()` succeeds.
public final class CheckpointWriter {
    private let pending: PendingFile
    private var file: HDF5File?
    /// The path of the complete file.
    public let path: String
    /// The main component of the model, the default section of tensors.
    let component: String
    private var written: Set<String> = []
    /// nil except for packed files.
    private var checksums: SectionChecksums?

    /// Creates the file and writes its header.
    ///
    /// - Throws: `FileError.cannotCreate`, `.writeFailed`; `HDF5Error`.
    public init(_ path: String, header: CheckpointHeader) throws {
        self.path = path
        component = header.component
        pending = try PendingFile(path)
        let created = try HDF5File.create(pending.temporaryPath, displayPath: path)
        try created.setText(CheckpointName.format, header.format.rawValue)
        try created.setInteger(CheckpointName.version, CheckpointFormat.version)
        try created.setText(CheckpointName.architecture, header.architecture)
        try created.setText(CheckpointName.component, header.component)
        if let tokenizer = header.tokenizer { try created.setText(CheckpointName.tokenizer, tokenizer) }
        var checksums = SectionChecksums()
        for (path, text) in header.documents {
            try created.setDocument(path, text)
            checksums.add(document: path, text)
        }
        for name in header.configs.keys.sorted(by: byBytes) {
            try created.createGroup(CheckpointSection.component(name).group)
        }
        if header.format == .packed { self.checksums = checksums }
        file = consume created
    }

    /// Writes the elements of `key`, row-major, little-endian.
    ///
    /// - Parameters:
    ///   - key: the diffusers key, or a path in the section `.training`.
    ///   - section: the section of the checkpoint; nil: the parameters of the main component.
    ///   - type: the element type.
    ///   - shape: the extents, row-major.
    ///   - bytes: the elements, `shape`'s product times `type.bytesPerElement` bytes.
    /// - Throws: `CheckpointError.invalidKey`, `.duplicateKey`; `HDF5Error`; `FileError.writeFailed`.
    public func write(
        _ key: String, in section: CheckpointSection? = nil, type: StorageType, shape: [Int],
        bytes: UnsafeRawBufferPointer
    ) throws {
        try write(key, in: section, type: type, shape: shape, bytes: bytes, hasAttributes: false)
    }

    /// Writes a tensor as `type`, rounded to nearest even.
    ///
    /// - Throws: as `write(_:in:type:shape:bytes:)`, and `CheckpointError.exceedsType` if a value is too large for
    ///   `type`.
    public func write(
        _ key: String, in section: CheckpointSection? = nil, _ tensor: Tensor,
        as type: ElementType = .float32
    ) throws {
        if type == .float32 {
            try tensor.withUnsafeBufferPointer { values in
                Result { () throws in
                    try write(
                        key, in: section, type: .float32, shape: tensor.shape,
                        bytes: UnsafeRawBufferPointer(values))
                }
            }.get()
        } else {
            let bytes = try encode(tensor, as: type, key: key, file: path)
            try write(key, in: section, type: StorageType(type), shape: tensor.shape, elements: bytes)
        }
    }

    /// Writes the parameter of a layer as `type`; nil: 16-bit weights without conversion, all others dense in Float32.
    ///
    /// - Throws: as `write(_:in:type:shape:bytes:)`.
    public func write(
        _ key: String, in section: CheckpointSection? = nil, _ source: any WeightSource, as type: ElementType? = nil
    ) throws {
        if let type {
            try write(key, in: section, withoutGradients { source.tensor() }, as: type)
        } else if let half = source as? Weight16 {
            try write(key, in: section, type: StorageType(half.type), shape: half.shape, elements: half.bits)
        } else {
            try write(key, in: section, withoutGradients { source.tensor() })
        }
    }

    /// Writes the JSON text of a training state. The tensors of the state are written to the section `.training`.
    ///
    /// - Throws: `HDF5Error`; `FileError.writeFailed`.
    public func writeTrainingState(json state: String) throws {
        try withFile { file throws in
            try file.createGroup(CheckpointSection.training.group)
            try file.setDocument(CheckpointName.document(CheckpointName.training), state)
        }
    }

    /// Syncs the file to disk and renames it to its final name.
    ///
    /// - Throws: `HDF5Error`; `FileError.writeFailed`. The temporary file is removed.
    public func finish() throws {
        try writeChecksums()
        guard let file = file.take() else {
            preconditionFailure("CheckpointWriter: \(path) was finished before")
        }
        try file.close()
        try pending.commit()
    }

    // MARK: Internal

    func write<Element: BitwiseCopyable>(
        _ key: String, in section: CheckpointSection?, type: StorageType, shape: [Int], elements: [Element],
        hasAttributes: Bool = false
    ) throws {
        try elements.withUnsafeBytes { bytes in
            Result { () throws in
                try write(key, in: section, type: type, shape: shape, bytes: bytes, hasAttributes: hasAttributes)
            }
        }.get()
    }

    private func write(
        _ key: String, in section: CheckpointSection?, type: StorageType, shape: [Int],
        bytes: UnsafeRawBufferPointer, hasAttributes: Bool
    ) throws {
        let section = section ?? .component(component)
        if checksums != nil { checksums?.add(key, in: section, CRC32.checksum(of: bytes)) }
        try create(at: try object(key, section), key, type: type, shape: shape, hasAttributes: hasAttributes) {
            dataset throws in
            try dataset.write(bytes)
        }
    }

    func withFile(
        _ body: (borrowing HDF5File) throws -> Void
    ) throws {
        guard file != nil else { preconditionFailure("CheckpointWriter: \(path) is finished") }
        try withBorrowed(&file, body)
    }

    /// The path of `key` in the file.
    ///
    /// - Throws: `CheckpointError.invalidKey` if readers would not map the path to the same key.
    func object(_ key: String, _ section: CheckpointSection) throws -> String {
        let separator: Character = section.naming == .dots ? "." : "/"
        let parts = key.split(separator: separator, omittingEmptySubsequences: false)
        guard parts.allSatisfy({ !$0.isEmpty && $0 != "." && !($0.contains("/") || $0.utf8.contains(0)) })
        else {
            throw CheckpointError.invalidKey(file: path, key: key)
        }
        return section.object(key)
    }

    private func writeChecksums() throws {
        guard let checksums else { return }
        try withFile { file throws in
            for (group, checksum) in checksums.groups {
                try file.setInteger(CheckpointName.checksum, Int(checksum), of: group)
            }
        }
    }

    private func create(
        at object: String, _ key: String, type: StorageType, shape: [Int], hasAttributes: Bool,
        fill: (borrowing HDF5Dataset) throws -> Void
    ) throws {
        try withFile { file throws in
            guard written.insert(object).inserted else { throw CheckpointError.duplicateKey(file: path, key: key) }
            // A path cannot be both a tensor and a group.
            guard try !file.contains(object), Self.parents(of: object).isDisjoint(with: written) else {
                throw CheckpointError.invalidKey(file: path, key: key)
            }
            try fill(
                try file.createDataset(object, type: type, shape: shape, hasAttributes: hasAttributes))
        }
    }
}

extension CheckpointWriter {
    /// The paths of all parent groups of `object`.
    private static func parents(of object: String) -> Set<String> {
        let parts = object.split(separator: "/")
        return Set((1..<max(parts.count, 1)).map { "/" + parts.prefix($0).joined(separator: "/") })
    }
}

/// Calls `body` with the file of an optional. Noncopyable values must be moved out of optionals to be borrowed.
private func withBorrowed(
    _ file: inout HDF5File?, _ body: (borrowing HDF5File) throws -> Void
) throws {
    guard let lent = file.take() else { return }
    do {
        try body(lent)
        file = consume lent
    } catch {
        file = consume lent
        throw error
    }
}
