// SPDX-License-Identifier: Apache-2.0
// Writes a checkpoint tensor by tensor, so that it never takes a second copy of the model. The file has its name only
// when it is complete.

import Files
import Foundation
import Tensors

/// A checkpoint being written; it appears under its name when `finish()` succeeds and not before.
public final class CheckpointWriter {
    private let pending: PendingFile
    private var file: HDF5File?
    /// Where the file will lie.
    public let path: String
    private var written: Set<String> = []
    /// Kept for packed files; nil for others.
    private var checksums: SectionChecksums?

    /// Creates the file and writes its attributes.
    ///
    /// - Throws: `FileError.cannotCreate`, `.hdf5`.
    public init(_ path: String, header: CheckpointHeader) throws {
        self.path = path
        pending = try PendingFile(path)
        let created = try HDF5File.create(pending.temporaryPath, displayPath: path)
        try created.setText(CheckpointName.format, header.format.rawValue)
        try created.setInteger(CheckpointName.version, CheckpointFormat.version)
        try created.setText(CheckpointName.config, header.config)
        try created.setText(CheckpointName.manifest, header.manifest)
        if let scheduler = header.scheduler { try created.setText(CheckpointName.scheduler, scheduler) }
        if let textConfig = header.textConfig { try created.setText(CheckpointName.textConfig, textConfig) }
        if let tokenizer = header.tokenizer { try created.setText(CheckpointName.tokenizer, tokenizer) }
        try created.createGroup(header.format.section.group)
        if header.format == .packed { checksums = SectionChecksums() }
        file = consume created
    }

    /// Writes the elements of `key`, row-major, little-endian.
    ///
    /// - Parameters:
    ///   - key: diffusers key (in `.training`: a path); written once.
    ///   - section: which part of the checkpoint it belongs to.
    ///   - type: the element type of `bytes`.
    ///   - shape: row-major extents.
    ///   - bytes: as many as type and shape take.
    /// - Throws: `CheckpointError.invalidKey`, `.duplicateKey`, `.hdf5`.
    public func write(
        _ key: String, in section: CheckpointSection = .unet, type: StorageType, shape: [Int],
        bytes: UnsafeRawBufferPointer
    ) throws {
        if checksums != nil { checksums?.add(key, in: section, CRC32.checksum(of: bytes)) }
        try create(
            at: try object(key, section), key, type: type, shape: shape,
            hasAttributes: Self.hasAttributes(key, section)
        ) { dataset throws in
            try dataset.write(bytes)
        }
    }

    /// Gives `key` its place and leaves its elements out, for a file that is only measured.
    ///
    /// - Throws: as above.
    public func reserve(
        _ key: String, in section: CheckpointSection = .unet, type: StorageType, shape: [Int]
    ) throws {
        checksums?.add(key, in: section, 0)
        try create(
            at: try object(key, section), key, type: type, shape: shape,
            hasAttributes: Self.hasAttributes(key, section)
        ) { _ in }
    }

    /// Writes a tensor as `type`, rounded to nearest even.
    ///
    /// - Throws: as above, and `CheckpointError.exceedsType` where a value is too large for `type`.
    public func write(
        _ key: String, in section: CheckpointSection = .unet, _ tensor: Tensor,
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

    /// Writes what a layer holds: half precision as it is, anything else dense in Float32.
    ///
    /// - Throws: as above.
    public func write(
        _ key: String, in section: CheckpointSection = .unet, _ source: any WeightSource
    ) throws {
        if let half = source as? Weight16 {
            try write(key, in: section, type: StorageType(half.type), shape: half.shape, elements: half.bits)
        } else {
            try write(key, in: section, withoutGradients { source.tensor() })
        }
    }

    /// Copies every tensor of `source`, as `type` or with its own type where that is nil.
    ///
    /// - Throws: as above, and what reading throws.
    public func copy(
        _ source: any TensorSource, to section: CheckpointSection = .unet, as type: ElementType? = nil
    ) throws {
        for key in source.keys {
            let (stored, bytes) = try source.encoded(key, as: type)
            guard let storedType = stored.type else { continue }
            try write(key, in: section, type: storedType, shape: stored.shape, elements: bytes)
        }
    }

    /// Writes what a resumed run needs: `state` as JSON text; its tensors go to the section `.training`.
    ///
    /// - Throws: `CheckpointError.hdf5`.
    public func writeTrainingState(json state: String) throws {
        let group = CheckpointSection.training.group
        try withFile { file throws in
            try file.createGroup(group)
            try file.setText(CheckpointName.state, state, of: group)
        }
    }

    /// Makes the file durable and gives it its name.
    ///
    /// - Throws: `CheckpointError.hdf5`, `.writeFailed`; nothing is left behind then.
    public func finish() throws {
        try writeChecksums()
        guard let file = file.take() else {
            preconditionFailure("CheckpointWriter: \(path) was finished before")
        }
        try file.close()
        try pending.commit()
    }

    /// The bytes of the file that `finish()` would leave; the file is gone then.
    ///
    /// - Throws: `CheckpointError.hdf5`, `.unreadable`.
    public func measure() throws -> Int {
        try writeChecksums()
        guard let file = file.take() else {
            preconditionFailure("CheckpointWriter: \(path) was finished before")
        }
        try file.close()
        return try pending.byteCount()
    }

    // MARK: For the other files of this folder

    func write<Element: BitwiseCopyable>(
        _ key: String, in section: CheckpointSection, type: StorageType, shape: [Int], elements: [Element]
    ) throws {
        try elements.withUnsafeBytes { bytes in
            Result { () throws in
                try write(key, in: section, type: type, shape: shape, bytes: bytes)
            }
        }.get()
    }

    func withFile(
        _ body: (borrowing HDF5File) throws -> Void
    ) throws {
        guard file != nil else { preconditionFailure("CheckpointWriter: \(path) is finished") }
        try withBorrowed(&file, body)
    }

    /// The path of `key` in the file, checked to be one that reads back as the same key.
    func object(_ key: String, _ section: CheckpointSection) throws -> String {
        let separator: Character = section.naming == .dots ? "." : "/"
        let parts = key.split(separator: separator, omittingEmptySubsequences: false)
        guard parts.allSatisfy({ !$0.isEmpty && $0 != "." && !($0.contains("/") || $0.utf8.contains(0)) })
        else {
            throw CheckpointError.invalidKey(file: path, key: key)
        }
        return section.naming.path(of: key, below: section.group)
    }

    private func writeChecksums() throws {
        guard let checksums else { return }
        try withFile { file throws in
            for (section, checksum) in checksums.groups {
                try file.setInteger(CheckpointName.checksum, Int(checksum), of: section.group)
            }
        }
    }

    private func create(
        at object: String, _ key: String, type: StorageType, shape: [Int], hasAttributes: Bool,
        fill: (borrowing HDF5Dataset) throws -> Void
    ) throws {
        try withFile { file throws in
            guard written.insert(object).inserted else { throw CheckpointError.duplicateKey(file: path, key: key) }
            // A path cannot be a tensor and a group at once.
            guard !file.contains(object), Self.parents(of: object).isDisjoint(with: written) else {
                throw CheckpointError.invalidKey(file: path, key: key)
            }
            try fill(
                try file.createDataset(object, type: type, shape: shape, hasAttributes: hasAttributes))
        }
    }
}

extension CheckpointWriter {
    /// Whether a dataset says in attributes what it means: codes of packed layers, and scales of students.
    private static func hasAttributes(_ key: String, _ section: CheckpointSection) -> Bool {
        section == .quantization || section == .packed && key.hasSuffix("." + CheckpointName.codes)
    }

    /// The paths of all groups above `object`.
    private static func parents(of object: String) -> Set<String> {
        let parts = object.split(separator: "/")
        return Set((1..<max(parts.count, 1)).map { "/" + parts.prefix($0).joined(separator: "/") })
    }
}

/// Lends the file in an optional without taking it out.
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
