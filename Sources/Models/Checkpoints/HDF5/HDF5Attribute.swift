// SPDX-License-Identifier: Apache-2.0
// Attributes: UTF-8 text of any length, and 64-bit integers, one or a list.
//
// Text is written as a variable-length string, which h5py gives as `str`; fixed-length strings of other programs are
// read too. HDF5 ends strings at a zero byte, so text that holds one cannot be stored and is refused.

import CHDF5
import Files
import Foundation

/// Reads and writes attributes of an open object.
enum HDF5Attributes {
    /// The text of attribute `name`, or nil where there is none.
    ///
    /// - Throws: `.attribute(.wrongType)` where it is no string, `.value` where it is not UTF-8, `.hdf5`.
    static func string(
        _ name: String, of object: borrowing HDF5Handle, at place: HDF5Location, content: MappedFile?
    ) throws -> String? {
        let owner = object.id
        guard try place.call(HDF5Operation.readAttribute, { H5Aexists(owner, name) }) > 0 else { return nil }
        let attribute = try place.open(HDF5Operation.readAttribute, .attribute) {
            H5Aopen(owner, name, bf_h5p_default())
        }
        // The file's own type serves as memory type: no conversion between character sets or paddings.
        let type = try place.open(HDF5Operation.readAttribute, .datatype) { H5Aget_type(attribute.id) }
        let space = try place.open(HDF5Operation.readAttribute, .dataspace) { H5Aget_space(attribute.id) }
        let isString = HDF5Location.locked { H5Tget_class(type.id) } == H5T_STRING
        guard isString, HDF5Location.locked({ H5Sget_simple_extent_npoints(space.id) }) == 1 else {
            throw place.attribute(name, .wrongType(expected: "a string"))
        }
        let bytes: [UInt8]
        if try place.call(HDF5Operation.readAttribute, { H5Tis_variable_str(type.id) }) > 0 {
            bytes = try variableString(attribute, name, type, of: object, place, content)
        } else {
            let size = HDF5Location.locked { H5Tget_size(type.id) }
            var buffer = [UInt8](repeating: 0, count: size)
            try place.call(HDF5Operation.readAttribute) { H5Aread(attribute.id, type.id, &buffer) }
            let isSpacePadded = HDF5Location.locked { H5Tget_strpad(type.id) } == H5T_STR_SPACEPAD
            bytes = isSpacePadded ? buffer.dropLastSpaces() : Array(buffer.prefix { $0 != 0 })
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw place.attribute(name, .value(expected: "UTF-8", found: "\(bytes.count) other bytes"))
        }
        return text
    }

    /// The integers of attribute `name`, or nil where there is none; a single value gives one element.
    ///
    /// - Throws: `.attribute(.wrongType)` where it holds no integers, or more than a million of them, `.hdf5`.
    static func integers(
        _ name: String, of object: borrowing HDF5Handle, at place: HDF5Location
    ) throws -> [Int]? {
        let owner = object.id
        guard try place.call(HDF5Operation.readAttribute, { H5Aexists(owner, name) }) > 0 else { return nil }
        let attribute = try place.open(HDF5Operation.readAttribute, .attribute) {
            H5Aopen(owner, name, bf_h5p_default())
        }
        let type = try place.open(HDF5Operation.readAttribute, .datatype) { H5Aget_type(attribute.id) }
        let space = try place.open(HDF5Operation.readAttribute, .dataspace) { H5Aget_space(attribute.id) }
        let count = HDF5Location.locked { Int(H5Sget_simple_extent_npoints(space.id)) }
        guard HDF5Location.locked({ H5Tget_class(type.id) }) == H5T_INTEGER, (0...1_000_000).contains(count)
        else {
            throw place.attribute(name, .wrongType(expected: "integers"))
        }
        var values = [Int64](repeating: 0, count: count)
        if count > 0 {
            try place.call(HDF5Operation.readAttribute) { H5Aread(attribute.id, bf_h5t_std_i64le(), &values) }
        }
        return values.map { Int($0) }
    }

    /// Adds the text attribute `name`, which must not exist.
    ///
    /// - Throws: `.attribute(.value)` for text that holds a zero byte, `.hdf5`.
    static func set(
        _ name: String, _ text: String, of object: borrowing HDF5Handle, at place: HDF5Location
    ) throws {
        guard !text.utf8.contains(0) else {
            throw place.attribute(name, .value(expected: "text", found: "text with a zero byte"))
        }
        let type = try place.open(HDF5Operation.writeAttribute, .datatype) { bf_h5t_create_string() }
        let attribute = try create(name, type, extents: nil, of: object, at: place)
        try place.call(HDF5Operation.writeAttribute) {
            text.withCString { characters in
                withUnsafePointer(to: characters) { H5Awrite(attribute.id, type.id, $0) }
            }
        }
    }

    /// Adds the attribute `name`, which must not exist: a list, or one number where `values` has one and `isList` is
    /// false.
    static func set(
        _ name: String, _ values: [Int], isList: Bool, of object: borrowing HDF5Handle, at place: HDF5Location
    ) throws {
        precondition(
            isList || values.count == 1, "HDF5 attribute \(name): \(values.count) values for one number")
        let type = try place.datatype(.int64)
        let attribute = try create(
            name, type, extents: isList ? [hsize_t(values.count)] : nil, of: object, at: place)
        let wide = values.map { Int64($0) }
        try place.call(HDF5Operation.writeAttribute) { H5Awrite(attribute.id, type.id, wide) }
    }

    private static func create(
        _ name: String, _ type: borrowing HDF5Handle, extents: [hsize_t]?, of object: borrowing HDF5Handle,
        at place: HDF5Location
    ) throws -> HDF5Handle {
        let owner = object.id
        let typeID = type.id
        let space = try place.open(HDF5Operation.writeAttribute, .dataspace) {
            extents.map { H5Screate_simple(Int32($0.count), $0, nil) } ?? H5Screate(H5S_SCALAR)
        }
        return try place.open(HDF5Operation.writeAttribute, .attribute) {
            H5Acreate2(owner, name, typeID, space.id, bf_h5p_default(), bf_h5p_default())
        }
    }

    /// HDF5 follows variable-length text into a heap whose sizes it does not check, so a damaged file can make it read
    /// outside of its memory. Where the text can be found without HDF5 (in every file that we write), it is.
    private static func variableString(
        _ attribute: borrowing HDF5Handle, _ name: String, _ type: borrowing HDF5Handle,
        of object: borrowing HDF5Handle, _ place: HDF5Location, _ content: MappedFile?
    ) throws -> [UInt8] {
        let owner = object.id
        if let content {
            let address = try place.call(HDF5Operation.readAttribute) { bf_h5_object_address(owner) }
            switch HeapText(content.bytes).attribute(name, headerAddress: Int(address)) {
            case .found(let bytes): return bytes
            case .damaged(let cause):
                throw CheckpointError.hdf5(
                    file: place.file, object: place.object, operation: HDF5Operation.readAttribute,
                    cause: cause)
            case .elsewhere: break
            }
        }
        let attributeID = attribute.id
        let typeID = type.id
        var characters: UnsafeMutablePointer<CChar>?
        try place.call(HDF5Operation.readAttribute) { H5Aread(attributeID, typeID, &characters) }
        guard let characters else { return [] }
        defer { _ = HDF5Location.locked { H5free_memory(characters) } }
        return Array(UnsafeRawBufferPointer(start: characters, count: strlen(characters)))
    }
}

extension [UInt8] {
    fileprivate func dropLastSpaces() -> [UInt8] {
        Array(prefix(1 + (lastIndex { $0 != UInt8(ascii: " ") } ?? -1)))
    }
}

extension HDF5Location {
    func attribute(_ name: String, _ fault: AttributeFault) -> CheckpointError {
        .attribute(file: file, object: object, name: name, fault: fault)
    }
}

extension HDF5File {
    /// The text attribute `name` of the group or dataset at `object`, or nil where there is none.
    ///
    /// - Throws: `.attribute` where it is not text in UTF-8, `.object(.missing)`, `.hdf5`.
    package func text(_ name: String, of object: String = "/") throws -> String? {
        let opened = try open(object)
        return try HDF5Attributes.string(name, of: opened, at: place(object), content: content)
    }

    /// The integers in attribute `name` of the group or dataset at `object`, or nil where there is none.
    ///
    /// - Throws: `.attribute` where it holds something else, `.object(.missing)`, `.hdf5`.
    package func integers(_ name: String, of object: String = "/") throws -> [Int]? {
        let opened = try open(object)
        return try HDF5Attributes.integers(name, of: opened, at: place(object))
    }

    /// Adds a text attribute to the group or dataset at `object`.
    package func setText(_ name: String, _ text: String, of object: String = "/") throws {
        let opened = try open(object)
        try HDF5Attributes.set(name, text, of: opened, at: place(object))
    }

    /// Adds an integer attribute to the group or dataset at `object`.
    package func setInteger(_ name: String, _ value: Int, of object: String = "/") throws {
        let opened = try open(object)
        try HDF5Attributes.set(name, [value], isList: false, of: opened, at: place(object))
    }

    /// Adds an attribute that is a list of integers to the group or dataset at `object`.
    package func setIntegers(_ name: String, _ values: [Int], of object: String = "/") throws {
        let opened = try open(object)
        try HDF5Attributes.set(name, values, isList: true, of: opened, at: place(object))
    }

    private func open(_ object: String) throws -> HDF5Handle {
        let place = place(object)
        guard contains(object) else { throw CheckpointError.object(file: path, object: object, fault: .missing) }
        let isDataset = try kind(of: object, in: handle.id, place) == .dataset
        return try place.open(HDF5Operation.openObject, isDataset ? .dataset : .group) {
            isDataset
                ? H5Dopen2(handle.id, object, bf_h5p_default())
                : H5Gopen2(handle.id, object, bf_h5p_default())
        }
    }
}
