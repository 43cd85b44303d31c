// SPDX-License-Identifier: Apache-2.0
// Text in HDF5: fixed-length strings in UTF-8, padded with zero bytes. Short names are attributes
// (HDF5Attribute.swift); documents of any length are scalar datasets, which h5py reads with `file[path][()]` as bytes.
//
// Variable-length strings are errors. HDF5 reads them from a heap without checking the sizes, so that damaged files can
// cause reads outside of the buffer.

import CHDF5

extension HDF5Location {
    /// The size of a fixed-length string type in bytes; nil for variable-length strings and other types.
    ///
    /// - Throws: `HDF5Error.failed`.
    func textSize(of type: borrowing HDF5Handle) throws -> Int? {
        let id = type.id
        guard HDF5Location.locked({ H5Tget_class(id) }) == H5T_STRING,
            try call(HDF5Operation.describeType, { H5Tis_variable_str(id) }) == 0
        else { return nil }
        return HDF5Location.locked { H5Tget_size(id) }
    }

    /// A new fixed-length string type of `size` bytes.
    ///
    /// - Throws: `HDF5Error.failed`.
    func textType(size: Int, _ operation: String) throws -> HDF5Handle {
        try open(operation, .datatype) { bf_h5t_create_string(size) }
    }

    /// The text in a buffer of the string type `type`, without padding; nil if it is not UTF-8.
    static func text(_ buffer: [UInt8], of type: borrowing HDF5Handle) -> String? {
        let id = type.id
        let padding: UInt8 = HDF5Location.locked { H5Tget_strpad(id) } == H5T_STR_SPACEPAD ? 0x20 : 0
        let end = buffer.lastIndex { $0 != padding }.map { $0 + 1 } ?? 0
        let bytes = padding == 0 ? buffer.prefix { $0 != 0 } : buffer[..<end]
        return String(validating: bytes, as: UTF8.self)
    }

    /// The bytes of `text`, at least one; nil if the text contains a zero byte, which would truncate it.
    static func textBytes(_ text: String) -> [UInt8]? {
        if text.utf8.contains(0) { return nil }
        return text.isEmpty ? [0] : Array(text.utf8)
    }
}

extension HDF5File {
    /// The text of the scalar dataset at the absolute path `object`; nil if it does not exist.
    ///
    /// - Throws: `HDF5Error.object` with `.value` if it is not one fixed-length string in UTF-8; `.failed`.
    package func document(_ object: String) throws -> String? {
        guard try contains(object) else { return nil }
        let location = location(object)
        func fault(_ found: String) -> HDF5Error {
            .object(
                file: path, object: object, fault: .value(expected: "one fixed-length string in UTF-8", found: found))
        }
        guard try kind(of: object, in: handle.id, location) == .dataset else { throw fault("a group") }
        let dataset = try location.open(HDF5Operation.openObject, .dataset) {
            H5Dopen2(handle.id, object, bf_h5p_default())
        }
        let type = try location.open(HDF5Operation.openObject, .datatype) { H5Dget_type(dataset.id) }
        let space = try location.open(HDF5Operation.openObject, .dataspace) { H5Dget_space(dataset.id) }
        guard let bytes = try location.textSize(of: type), bytes <= size,
            HDF5Location.locked({ H5Sget_simple_extent_npoints(space.id) }) == 1
        else { throw fault(location.name(of: type)) }
        var buffer = [UInt8](repeating: 0, count: bytes)
        try location.call(HDF5Operation.read) {
            H5Dread(dataset.id, type.id, bf_h5s_all(), bf_h5s_all(), bf_h5p_default(), &buffer)
        }
        guard let text = HDF5Location.text(buffer, of: type) else { throw fault("\(bytes) other bytes") }
        return text
    }

    /// Stores `text` as a new scalar dataset at the absolute path `object`, and creates its parent groups.
    ///
    /// - Throws: `HDF5Error.object` with `.value` if the text contains a zero byte; `.failed`.
    package func setDocument(_ object: String, _ text: String) throws {
        let location = location(object)
        guard let bytes = HDF5Location.textBytes(text) else {
            throw HDF5Error.object(
                file: path, object: object, fault: .value(expected: "text", found: "text with a zero byte"))
        }
        try createParents(of: object)
        let type = try location.textType(size: bytes.count, HDF5Operation.createDataset)
        let dataset = try HDF5Dataset.create(
            object, fileType: type, shape: [], hasAttributes: false, in: self)
        try location.call(HDF5Operation.write) {
            H5Dwrite(dataset.id, type.id, bf_h5s_all(), bf_h5s_all(), bf_h5p_default(), bytes)
        }
    }
}
