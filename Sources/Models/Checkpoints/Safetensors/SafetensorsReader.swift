// SPDX-License-Identifier: Apache-2.0
// A safetensors file open for reading: its header validated completely, its data read only where asked for. Data is
// read into the caller's memory and not mapped, so that an import takes no more memory than its largest tensor.

import Files
import Foundation

/// One safetensors file. Tensors of 8-bit floats are read as float16, which holds their values exactly.
public final class SafetensorsReader: TensorSource {
    public var path: String { file.path }
    public let keys: [String]
    /// The text pairs of the header's `__metadata__`.
    public let metadata: [String: String]
    private let file: FileReader
    private let entries: [String: SafetensorsHeader.Entry]
    private let dataOffset: Int

    /// Opens the file at `path` and checks its header.
    ///
    /// - Throws: `FileError.missingFile`, `.unreadable`, `.wrongKind` for a folder, an empty file or another known
    ///   format, such as HDF5, a PyTorch pickle, an image or text; `SafetensorsError` with the header's first fault.
    public init(_ path: String) throws {
        let found = try FileInspection(path)
        switch found.kind {
        case .safetensors, .unknown: break  // The validation of the header gives the more specific error.
        default: throw FileError.wrongKind(path: path, expected: .safetensors, found: found.kind)
        }
        file = try FileReader(path)
        let map = try MappedFile(path, expected: .safetensors)
        let header: SafetensorsHeader
        do throws(SafetensorsFault) {
            header = try withExtendedLifetime(map) { () throws(SafetensorsFault) -> SafetensorsHeader in
                try SafetensorsHeader(file: map.bytes)
            }
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
            let type = Float8(rawValue: $0.dtype) == nil ? StorageType(safetensorsName: $0.dtype) : .float16
            return StoredTensor(type: type, typeName: $0.dtype, shape: $0.shape)
        }
    }

    public func read(_ key: String, into buffer: UnsafeMutableRawBufferPointer) throws {
        try read(key, bytes: 0..<buffer.count, into: buffer)
    }

    public func read(_ key: String, bytes range: Range<Int>, into buffer: UnsafeMutableRawBufferPointer) throws {
        guard let entry = entries[key] else { throw CheckpointError.missingKey(file: path, key: key) }
        let start = dataOffset + entry.bytes.lowerBound
        guard let float8 = Float8(rawValue: entry.dtype) else {
            precondition(
                buffer.count == range.count && range.upperBound <= entry.bytes.count,
                "safetensors read: bytes \(range) of the \(entry.bytes.count) of \(key)")
            return try file.read(into: buffer, at: start + range.lowerBound)
        }
        precondition(
            buffer.count == range.count && range.upperBound <= 2 * entry.bytes.count
                && range.lowerBound % 2 == 0 && range.count % 2 == 0,
            "safetensors read: bytes \(range) of the \(2 * entry.bytes.count) of \(key), widened to float16")
        let half = UnsafeMutableRawBufferPointer(rebasing: buffer[(buffer.count / 2)...])
        try file.read(into: half, at: start + range.lowerBound / 2)
        float8.widen(inPlace: buffer)
    }
}
