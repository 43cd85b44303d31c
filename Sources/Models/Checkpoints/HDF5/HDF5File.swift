// SPDX-License-Identifier: Apache-2.0
// HDF5 files and their groups. Datasets and attributes are in the other files of this folder.
//
// Files are written without object times and in the format of HDF5 1.8, so that equal contents give equal bytes and all
// versions since 1.8 read them.

import CHDF5
import Files

/// An open HDF5 file. Not copyable; closed when it goes out of scope.
package struct HDF5File: ~Copyable {
    let handle: HDF5Handle
    /// The path for error messages.
    package let path: String
    /// The size of the file in bytes when it was opened; 0 for a new file.
    let size: Int

    private init(_ handle: consuming HDF5Handle, path: String, size: Int) {
        self.handle = handle
        self.path = path
        self.size = size
    }

    /// A member of a group.
    package struct Entry: Equatable, Sendable {
        package enum Kind: Sendable { case group, dataset }
        package let name: String
        package let kind: Kind
    }

    /// Opens an existing file for reading.
    ///
    /// - Throws: `FileError.missingFile`, `.unreadable`, or `.wrongKind` if it is not an HDF5 file; `HDF5Error.failed`
    ///   if HDF5 cannot open it, for example because it is truncated.
    package static func open(_ path: String) throws -> HDF5File {
        let found = try FileInspection(path)
        guard found.kind == .hdf5 else { throw FileError.wrongKind(path: path, expected: .hdf5, found: found.kind) }
        let location = HDF5Location(path)
        // Weak: an open dataset keeps the file open, so that neither must be kept for the other. Files of any version
        // are read (h5py with libver="latest").
        let access = try accessProperties(location, closing: H5F_CLOSE_WEAK)
        let handle = try location.open(HDF5Operation.openFile, .file) {
            H5Fopen(path, bf_h5f_acc_rdonly(), access.id)
        }
        return HDF5File(handle, path: path, size: found.size)
    }

    /// Creates a file at `path`, or replaces it.
    ///
    /// - Parameters:
    ///   - path: the path of the file.
    ///   - displayPath: the path in error messages; nil: `path`.
    /// - Returns: the new, empty file.
    /// - Throws: `HDF5Error.failed`; `FileError.writeFailed` if a system call failed.
    package static func create(_ path: String, displayPath: String? = nil) throws -> HDF5File {
        let location = HDF5Location(displayPath ?? path)
        // Strong: closing the file also closes its open objects, so that the file is complete.
        let access = try accessProperties(location, closing: H5F_CLOSE_STRONG)
        let creation = try location.open(HDF5Operation.createFile, .properties) {
            H5Pcreate(bf_h5p_file_create())
        }
        try location.call(HDF5Operation.createFile) { H5Pset_obj_track_times(creation.id, false) }
        try location.call(HDF5Operation.createFile) {
            H5Pset_libver_bounds(access.id, H5F_LIBVER_V18, H5F_LIBVER_V18)
        }
        // No blocks are set aside, so that the size of a file follows from its objects (`HDF5Size`).
        try location.call(HDF5Operation.createFile) { H5Pset_meta_block_size(access.id, 0) }
        try location.call(HDF5Operation.createFile) { H5Pset_small_data_block_size(access.id, 0) }
        let handle = try location.open(HDF5Operation.createFile, .file) {
            H5Fcreate(path, bf_h5f_acc_trunc(), creation.id, access.id)
        }
        return HDF5File(handle, path: location.file, size: 0)
    }

    private static func accessProperties(
        _ location: HDF5Location, closing degree: H5F_close_degree_t
    ) throws -> HDF5Handle {
        let access = try location.open(HDF5Operation.openFile, .properties) { H5Pcreate(bf_h5p_file_access()) }
        try location.call(HDF5Operation.openFile) { H5Pset_fclose_degree(access.id, degree) }
        // No locks: a finished file is never changed in location and an unfinished one has a name of its own, while a
        // lock lives on in every child process that inherited the file, and some network file systems have none.
        try location.call(HDF5Operation.openFile) { H5Pset_file_locking(access.id, false, true) }
        return access
    }

    func location(_ object: String) -> HDF5Location { HDF5Location(path, object) }

    /// Writes all buffers of HDF5 to the operating system.
    ///
    /// - Throws: `HDF5Error.failed`; `FileError.writeFailed` if a system call failed.
    package func flush() throws {
        try location("/").call(HDF5Operation.flush) { H5Fflush(handle.id, H5F_SCOPE_GLOBAL) }
    }

    /// Flushes and closes the file. Going out of scope also closes it, but does not report errors.
    ///
    /// - Throws: as `flush()`.
    package consuming func close() throws {
        let location = location("/")
        try flush()
        try handle.close(at: location)
    }

    // MARK: Groups

    /// Whether a group or dataset exists at the absolute path `object`.
    ///
    /// - Throws: `FileError.writeFailed` if HDF5 had to write buffers of a new file and could not.
    package func contains(_ object: String) throws -> Bool {
        if object == "/" { return true }
        let id = handle.id
        var partial = ""
        for name in object.split(separator: "/") {
            partial += "/" + name
            let path = partial
            // H5Lexists requires that all parent groups exist, and fails where a parent is a dataset.
            do {
                let found = try location(path).call(HDF5Operation.list) { H5Lexists(id, path, bf_h5p_default()) }
                guard found > 0 else { return false }
            } catch is HDF5Error {
                return false
            }
        }
        return true
    }

    /// Creates the group at the absolute path `group` and its parent groups, unless they exist.
    ///
    /// - Throws: `HDF5Error`.
    package func createGroup(_ group: String) throws {
        var partial = ""
        for name in group.split(separator: "/") {
            partial += "/" + name
            if try contains(partial) { continue }
            let path = partial
            let location = location(path)
            let creation = try location.open(HDF5Operation.createGroup, .properties) {
                H5Pcreate(bf_h5p_group_create())
            }
            try location.call(HDF5Operation.createGroup) { H5Pset_obj_track_times(creation.id, false) }
            // Links of small groups are stored in the header of the group, so that sizes follow from names.
            try location.call(HDF5Operation.createGroup) {
                H5Pset_link_phase_change(creation.id, Self.compactLinks, 0)
            }
            _ = try location.open(HDF5Operation.createGroup, .group) {
                H5Gcreate2(handle.id, path, bf_h5p_default(), creation.id, bf_h5p_default())
            }
        }
    }

    /// Creates the parent groups of the absolute path `object`.
    func createParents(of object: String) throws {
        let parents = object.split(separator: "/").dropLast()
        if !parents.isEmpty { try createGroup("/" + parents.joined(separator: "/")) }
    }

    /// The largest number of links that a group stores in its header; larger groups have an index.
    static let compactLinks: UInt32 = 256

    /// The members of a group, sorted by name.
    ///
    /// - Throws: `HDF5Error.object`: `.missing`, `.notAHardLink` for other links, `.unsupportedType` for members that
    ///   are neither groups nor datasets, `.tooMany`, `.value` for a name that is not UTF-8; `.failed`.
    package func members(of group: String) throws -> [Entry] {
        let location = location(group)
        guard try contains(group) else { throw HDF5Error.object(file: path, object: group, fault: .missing) }
        let opened = try location.open(HDF5Operation.openObject, .group) {
            H5Gopen2(handle.id, group, bf_h5p_default())
        }
        var info = H5G_info_t()
        try location.call(HDF5Operation.list) { H5Gget_info(opened.id, &info) }
        // A damaged number must not cause a very long loop.
        guard info.nlinks <= UInt64(Self.objectLimit) else {
            throw HDF5Error.object(file: path, object: group, fault: .tooMany(limit: Self.objectLimit))
        }
        var entries: [Entry] = []
        for index in 0..<info.nlinks {
            let name = try linkName(in: opened, index, location)
            entries.append(Entry(name: name, kind: try kind(of: name, in: opened, location)))
        }
        return entries
    }

    /// The absolute paths of all datasets in `group` and its subgroups, depth first, sorted by name.
    ///
    /// - Throws: as `members(of:)`, and `HDF5Error.object` with `.tooDeep`.
    package func datasets(below group: String) throws -> [String] {
        var found: [String] = []
        var seen = 0
        try collect(below: group, depth: 0, seen: &seen, into: &found)
        return found
    }

    /// The largest number of groups and datasets. SDXL's UNet with its training state has about 20000.
    private static let objectLimit = 1_000_000
    private static let depthLimit = 64

    private func collect(
        below group: String, depth: Int, seen: inout Int, into found: inout [String]
    ) throws {
        guard depth < Self.depthLimit else {
            throw HDF5Error.object(file: path, object: group, fault: .tooDeep(limit: Self.depthLimit))
        }
        for entry in try members(of: group) {
            seen += 1
            guard seen <= Self.objectLimit else {
                throw HDF5Error.object(file: path, object: group, fault: .tooMany(limit: Self.objectLimit))
            }
            let object = (group == "/" ? "" : group) + "/" + entry.name
            switch entry.kind {
            case .dataset: found.append(object)
            case .group: try collect(below: object, depth: depth + 1, seen: &seen, into: &found)
            }
        }
    }

    private func linkName(
        in group: borrowing HDF5Handle, _ index: UInt64, _ location: HDF5Location
    ) throws -> String {
        let id = group.id
        func fill(_ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int) -> Int {
            H5Lget_name_by_idx(id, ".", H5_INDEX_NAME, H5_ITER_INC, index, buffer, capacity, bf_h5p_default())
        }
        let count = try location.call(HDF5Operation.list) { fill(nil, 0) }
        var buffer = [CChar](repeating: 0, count: count + 1)
        try location.call(HDF5Operation.list) {
            buffer.withUnsafeMutableBufferPointer { fill($0.baseAddress, $0.count) }
        }
        let bytes = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        guard let name = String(validating: bytes, as: UTF8.self) else {
            throw HDF5Error.object(
                file: path, object: location.object, fault: .value(expected: "names in UTF-8", found: "\(bytes)")
            )
        }
        return name
    }

    private func kind(
        of name: String, in group: borrowing HDF5Handle, _ location: HDF5Location
    ) throws -> Entry.Kind {
        let id = group.id
        let object = (location.object == "/" ? "" : location.object) + "/" + name
        let member = HDF5Location(path, object)
        guard try member.call(HDF5Operation.list, { bf_h5_is_hard_link(id, name) }) > 0 else {
            throw HDF5Error.object(file: path, object: object, fault: .notAHardLink)
        }
        return try kind(of: name, in: id, member)
    }

    /// Whether the object `name` below the open object `parent` is a group or a dataset.
    func kind(of name: String, in parent: hid_t, _ location: HDF5Location) throws -> Entry.Kind {
        let type = try location.call(HDF5Operation.list) { bf_h5_object_type(parent, name) }
        switch H5O_type_t(type) {
        case H5O_TYPE_GROUP: return .group
        case H5O_TYPE_DATASET: return .dataset
        default:
            throw HDF5Error.object(
                file: path, object: location.object, fault: .unsupportedType("a named datatype"))
        }
    }
}
