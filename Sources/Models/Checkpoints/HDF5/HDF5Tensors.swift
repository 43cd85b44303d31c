// SPDX-License-Identifier: Apache-2.0
// The datasets below one group of an HDF5 file as named tensors.

import Foundation

/// An open HDF5 file that several readers share. Safe to read from several threads: every call of HDF5 is serialised.
final class SharedHDF5File: @unchecked Sendable {
    let file: HDF5File

    init(_ file: consuming HDF5File) { self.file = file }
}

/// How keys and paths inside a file correspond.
package enum HDF5KeyNaming: Sendable {
    /// Dots are groups: `down_blocks.0.conv.weight` is stored in `down_blocks/0/conv/weight`, so that a listing of the
    /// file reads like a state_dict.
    case dots
    /// Keys are paths as they are; dots in names mean nothing.
    case paths

    /// The path of `key` below the group `base`.
    func path(of key: String, below base: String) -> String {
        let prefix = base == "/" ? "/" : base + "/"
        return prefix + (self == .dots ? key.replacingOccurrences(of: ".", with: "/") : key)
    }

    /// The key of the dataset at `path` below `base`, or nil where none leads there.
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

    /// Opens `path` and lists the datasets below `group`, or only those whose keys are `wanted`: what else the file
    /// holds, such as text, is not looked at then.
    ///
    /// - Throws: `CheckpointError`: a missing or damaged file, a missing group, a dataset of a type that checkpoints do
    ///   not store.
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
    /// - Throws: `CheckpointError.missingKey` or `.hdf5`.
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
    /// - Precondition: `rows` lies within the first extent, and `buffer` holds exactly those rows.
    /// - Throws: `CheckpointError.missingKey` or `.hdf5`.
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
