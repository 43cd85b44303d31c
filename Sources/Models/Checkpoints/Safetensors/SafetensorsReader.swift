// SPDX-License-Identifier: Apache-2.0
// Reads safetensors files. A file is mapped into memory and its header is validated; data is read on request.

import Files
import Foundation

/// A safetensors file, open for reading.
public final class SafetensorsReader: TensorSource {
    public var path: String { file.path }
    public let keys: [String]
    /// The text pairs of the header's `__metadata__`.
    public let metadata: [String: String]
    private let file: MappedFile
    private let entries: [String: SafetensorsHeader.Entry]
    private let dataOffset: Int

    /// Maps the file at `path` and validates its header.
    ///
    /// - Throws: `FileError.missingFile`, `.unreadable`, or `.wrongKind` for a folder, an empty file, an HDF5 file or a
    ///   PyTorch archive; `SafetensorsError` with the first error of the header.
    public init(_ path: String) throws {
        let found = try FileInspection(path)
        switch found.kind {
        case .folder, .special, .empty, .hdf5, .zip:
            throw FileError.wrongKind(path: path, expected: .safetensors, found: found.kind)
        case .safetensors, .json, .unknown, .diffusersFolder:
            break  // The validation of the header gives the more specific error.
        }
        file = try MappedFile(path, expected: .safetensors)
        let header: SafetensorsHeader
        do throws(SafetensorsFault) {
            header = try SafetensorsHeader(file: file.bytes)
        } catch {
            throw SafetensorsError(file: path, fault: error)
        }
        metadata = header.metadata
        dataOffset = header.dataOffset
        keys = header.entries.map(\.key).sorted(by: byBytes)
        entries = Dictionary(uniqueKeysWithValues: header.entries.map { ($0.key, $0) })
    }

    public func stored(_ key: String) -> StoredTensor? {
        entries[key].map {
            StoredTensor(type: StorageType(safetensorsName: $0.dtype), typeName: $0.dtype, shape: $0.shape)
        }
    }

    public func read(_ key: String, into buffer: UnsafeMutableRawBufferPointer) throws {
        guard let entry = entries[key] else { throw CheckpointError.missingKey(file: path, key: key) }
        precondition(
            buffer.count == entry.bytes.count,
            "safetensors read: buffer of \(buffer.count) bytes for \(entry.bytes.count) of \(key)")
        buffer.copyMemory(from: bytes(of: entry))
    }

    private func bytes(of entry: SafetensorsHeader.Entry) -> UnsafeRawBufferPointer {
        let range = entry.bytes.lowerBound + dataOffset..<entry.bytes.upperBound + dataOffset
        return UnsafeRawBufferPointer(rebasing: file.bytes[range])
    }
}
