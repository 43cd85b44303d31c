// SPDX-License-Identifier: Apache-2.0
// The datasets of a group of an HDF5 file, and of its subgroups, as named tensors.

import Files
import Foundation

/// An open HDF5 file that several readers share. Thread-safe, because all calls of HDF5 are serialized.
final class SharedHDF5File: @unchecked Sendable {
    let file: HDF5File

    init(_ file: consuming HDF5File) { self.file = file }
}

/// The mapping between keys and paths in a file.
package enum HDF5KeyNaming: Sendable {
    /// Dots separate groups: `down_blocks.0.conv.weight` is stored at `down_blocks/0/conv/weight`, so that the
    /// structure of the file is that of the state_dict.
    case dots
    /// Keys are paths; dots have no meaning.
    case paths

    /// The path of `key` below the group `base`.
    func path(of key: String, below base: String) -> String {
        let prefix = base == "/" ? "/" : base + "/"
        return prefix + (self == .dots ? key.replacingOccurrences(of: ".", with: "/") : key)
    }

    /// The key of the dataset at `path` below `base`; nil if no key has this path.
    func key(of path: String, below base: String) -> String? {
        let key = String(path.dropFirst(base == "/" ? 1 : base.count + 1))
        guard self == .dots else { return key }
        return key.contains(".") ? nil : key.replacingOccurrences(of: "/", with: ".")
    }
}

/// Named tensors in an HDF5 file.
package final class HDF5Tensors: TensorSource {
    package var path: String { shared.file.path }
    package let keys: [String]
    private let shared: SharedHDF5File
    private let group: String
    private let naming: HDF5KeyNaming
    private let tensors: [String: StoredTensor]

    /// Opens the file at `path` and the datasets below `group`.
    ///
    /// - Parameters:
    ///   - path: the path of the file.
    ///   - group: the absolute path of a group.
    ///   - naming: the mapping between keys and paths.
    ///   - wanted: the keys of the datasets to open, so that others, such as text, can have unsupported types; nil:
    ///     all.
    /// - Throws: `FileError.missingFile`, `.unreadable`, or `.wrongKind` if it is not an HDF5 file; `HDF5Error` for a
    ///   missing group, an unsupported type, or a damaged file; `CheckpointError.invalidKey`, `.duplicateKey`.
    package convenience init(
        _ path: String, group: String = "/", naming: HDF5KeyNaming = .paths, only wanted: Set<String>? = nil
    ) throws {
        let shared = SharedHDF5File(try HDF5File.open(path))
        try self.init(shared, group: group, naming: naming, only: wanted)
    }

    init(
        _ shared: SharedHDF5File, group: String, naming: HDF5KeyNaming, only wanted: Set<String>? = nil
    ) throws {
        var tensors: [String: StoredTensor] = [:]
        for object in try shared.file.datasets(below: group) {
            guard let key = naming.key(of: object, below: group) else {
                throw CheckpointError.invalidKey(file: shared.file.path, key: object)
            }
            if let wanted, !wanted.contains(key) { continue }
            let dataset = try shared.file.dataset(object)
            let tensor = StoredTensor(type: dataset.type, shape: dataset.shape)
            guard tensors.updateValue(tensor, forKey: key) == nil else {
                throw CheckpointError.duplicateKey(file: shared.file.path, key: key)
            }
        }
        self.shared = shared
        self.group = group
        self.naming = naming
        self.tensors = tensors
        keys = tensors.keys.sorted(by: byBytes)
    }

    package func stored(_ key: String) -> StoredTensor? { tensors[key] }

    package func read(_ key: String, into buffer: UnsafeMutableRawBufferPointer) throws {
        try dataset(key).read(into: buffer)
    }

    /// The bytes of `key` as stored.
    ///
    /// - Throws: `CheckpointError.missingKey`, `HDF5Error`.
    func storedBytes(_ key: String) throws -> [UInt8] {
        let dataset = try dataset(key)
        var bytes = [UInt8](repeating: 0, count: dataset.byteCount)
        try bytes.withUnsafeMutableBytes { buffer in
            Result { () throws in try dataset.read(into: buffer) }
        }.get()
        return bytes
    }

    /// Reads `rows` of the first axis of `key` as stored.
    ///
    /// - Precondition: as `HDF5Dataset.read(rows:into:)`.
    /// - Throws: `CheckpointError.missingKey`, `HDF5Error`.
    package func read(
        _ key: String, rows: Range<Int>, into buffer: UnsafeMutableRawBufferPointer
    ) throws {
        try dataset(key).read(rows: rows, into: buffer)
    }

    private func dataset(_ key: String) throws -> HDF5Dataset {
        guard tensors[key] != nil else { throw CheckpointError.missingKey(file: path, key: key) }
        return try shared.file.dataset(naming.path(of: key, below: group))
    }
}

/// Rows of the first axis of the tensors of a file, as tensors of their own.
private final class HDF5Rows: TensorSource {
    private let base: HDF5Tensors
    private let rows: Range<Int>

    init(_ base: HDF5Tensors, _ rows: Range<Int>) { (self.base, self.rows) = (base, rows) }

    var path: String { base.path }
    var keys: [String] { base.keys }

    func stored(_ key: String) -> StoredTensor? {
        base.stored(key).map {
            StoredTensor(type: $0.type, typeName: $0.typeName, shape: [rows.count] + $0.shape.dropFirst())
        }
    }

    func read(_ key: String, into buffer: UnsafeMutableRawBufferPointer) throws {
        try base.read(key, rows: rows, into: buffer)
    }
}

extension HDF5Tensors {
    /// The tensors of the file restricted to `rows` of their first axis, which are read when they are asked for.
    ///
    /// - Precondition: `rows` is within the first extent of the tensors that are read.
    package func rows(_ rows: Range<Int>) -> any TensorSource { HDF5Rows(self, rows) }
}
