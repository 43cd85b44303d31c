// SPDX-License-Identifier: Apache-2.0
// Attributes of HDF5 objects: short UTF-8 text, 64-bit integers, and lists of 64-bit integers.

import CHDF5

/// An attribute that is open for reading.
private struct OpenAttribute: ~Copyable {
    let handle: HDF5Handle
    let type: HDF5Handle
    /// The number of elements.
    let count: Int

    /// Opens the attribute `name`; nil if it does not exist.
    static func open(
        _ name: String, of object: borrowing HDF5Handle, at location: HDF5Location
    ) throws -> OpenAttribute? {
        let owner = object.id
        guard try location.call(HDF5Operation.readAttribute, { H5Aexists(owner, name) }) > 0 else { return nil }
        let handle = try location.open(HDF5Operation.readAttribute, .attribute) {
            H5Aopen(owner, name, bf_h5p_default())
        }
        let id = handle.id
        let type = try location.open(HDF5Operation.readAttribute, .datatype) { H5Aget_type(id) }
        let space = try location.open(HDF5Operation.readAttribute, .dataspace) { H5Aget_space(id) }
        let count = HDF5Location.locked { Int(H5Sget_simple_extent_npoints(space.id)) }
        return OpenAttribute(handle: handle, type: type, count: count)
    }
}

/// Reads and writes attributes of an open object. All functions throw `HDF5Error.failed` if HDF5 fails.
enum HDF5Attributes {
    /// The largest text in bytes. Attributes are stored in object headers, whose messages are limited to 64 KiB.
    static let textLimit = 1 << 15

    /// The text of the attribute `name`; nil if it does not exist.
    ///
    /// - Throws: `HDF5Error.attribute`: `.wrongType` if it is not one fixed-length string of at most `textLimit` bytes,
    ///   `.value` if it is not UTF-8.
    static func string(
        _ name: String, of object: borrowing HDF5Handle, at location: HDF5Location
    ) throws -> String? {
        guard let attribute = try OpenAttribute.open(name, of: object, at: location) else { return nil }
        guard attribute.count == 1, let size = try location.textSize(of: attribute.type), size <= textLimit else {
            throw location.attribute(name, .wrongType(expected: "one fixed-length string"))
        }
        let (id, type) = (attribute.handle.id, attribute.type.id)
        var buffer = [UInt8](repeating: 0, count: size)
        // The type in memory is the type in the file, so that HDF5 does not convert character sets or padding.
        try location.call(HDF5Operation.readAttribute) { H5Aread(id, type, &buffer) }
        guard let text = HDF5Location.text(buffer, of: attribute.type) else {
            throw location.attribute(name, .value(expected: "UTF-8", found: "\(size) other bytes"))
        }
        return text
    }

    /// The integers of the attribute `name`, one element for a scalar; nil if it does not exist.
    ///
    /// - Throws: `HDF5Error.attribute` with `.wrongType` if the values are not integers, or are more than a million.
    static func integers(
        _ name: String, of object: borrowing HDF5Handle, at location: HDF5Location
    ) throws -> [Int]? {
        guard let attribute = try OpenAttribute.open(name, of: object, at: location) else { return nil }
        let (id, type) = (attribute.handle.id, attribute.type.id)
        guard HDF5Location.locked({ H5Tget_class(type) }) == H5T_INTEGER, (0...1_000_000).contains(attribute.count)
        else {
            throw location.attribute(name, .wrongType(expected: "integers"))
        }
        var values = [Int64](repeating: 0, count: attribute.count)
        if !values.isEmpty {
            try location.call(HDF5Operation.readAttribute) { H5Aread(id, bf_h5t_std_i64le(), &values) }
        }
        return values.map { Int($0) }
    }

    /// The floating-point number of the attribute `name`; nil if it does not exist.
    ///
    /// - Throws: `HDF5Error.attribute` with `.wrongType` if the value is not one such number.
    static func float(
        _ name: String, of object: borrowing HDF5Handle, at location: HDF5Location
    ) throws -> Float? {
        guard let attribute = try OpenAttribute.open(name, of: object, at: location) else { return nil }
        let (id, type) = (attribute.handle.id, attribute.type.id)
        guard HDF5Location.locked({ H5Tget_class(type) }) == H5T_FLOAT, attribute.count == 1 else {
            throw location.attribute(name, .wrongType(expected: "one floating-point number"))
        }
        var value: Float = 0
        let float32 = try location.datatype(.float32)
        try location.call(HDF5Operation.readAttribute) { H5Aread(id, float32.id, &value) }
        return value
    }

    /// Adds the text attribute `name`, which must not exist.
    ///
    /// - Precondition: `text` has at most `textLimit` bytes.
    /// - Throws: `HDF5Error.attribute` with `.value` if the text contains a zero byte.
    static func set(
        _ name: String, _ text: String, of object: borrowing HDF5Handle, at location: HDF5Location
    ) throws {
        precondition(text.utf8.count <= textLimit, "HDF5 attribute \(name): \(text.utf8.count) bytes of text")
        guard let bytes = HDF5Location.textBytes(text) else {
            throw location.attribute(name, .value(expected: "text", found: "text with a zero byte"))
        }
        let type = try location.textType(size: bytes.count, HDF5Operation.writeAttribute)
        let attribute = try create(name, type, extents: nil, of: object, at: location)
        try location.call(HDF5Operation.writeAttribute) { H5Awrite(attribute.id, type.id, bytes) }
    }

    /// Adds the attribute `name`, which must not exist: a list of integers, or a scalar if `isList` is false.
    ///
    /// - Precondition: a scalar has one value.
    static func set(
        _ name: String, _ values: [Int], isList: Bool, of object: borrowing HDF5Handle, at location: HDF5Location
    ) throws {
        precondition(
            isList || values.count == 1, "HDF5 attribute \(name): \(values.count) values for one number")
        let type = try location.datatype(.int64)
        let attribute = try create(
            name, type, extents: isList ? [hsize_t(values.count)] : nil, of: object, at: location)
        let integers = values.map { Int64($0) }
        try location.call(HDF5Operation.writeAttribute) { H5Awrite(attribute.id, type.id, integers) }
    }

    /// Adds the floating-point attribute `name`, which must not exist.
    static func set(
        _ name: String, _ value: Float, of object: borrowing HDF5Handle, at location: HDF5Location
    ) throws {
        let type = try location.datatype(.float32)
        let attribute = try create(name, type, extents: nil, of: object, at: location)
        var value = value
        try location.call(HDF5Operation.writeAttribute) { H5Awrite(attribute.id, type.id, &value) }
    }

    private static func create(
        _ name: String, _ type: borrowing HDF5Handle, extents: [hsize_t]?, of object: borrowing HDF5Handle,
        at location: HDF5Location
    ) throws -> HDF5Handle {
        let owner = object.id
        let typeID = type.id
        let space = try location.open(HDF5Operation.writeAttribute, .dataspace) {
            extents.map { H5Screate_simple(Int32($0.count), $0, nil) } ?? H5Screate(H5S_SCALAR)
        }
        return try location.open(HDF5Operation.writeAttribute, .attribute) {
            H5Acreate2(owner, name, typeID, space.id, bf_h5p_default(), bf_h5p_default())
        }
    }
}

extension HDF5Location {
    func attribute(_ name: String, _ fault: AttributeFault) -> HDF5Error {
        .attribute(file: file, object: object, name: name, fault: fault)
    }
}

extension HDF5File {
    /// The text attribute `name` of the group or dataset `object`; nil if the attribute does not exist.
    ///
    /// - Throws: `HDF5Error.attribute` if it is not one fixed-length string in UTF-8, `.object` with `.missing` if
    ///   there is no such object, `.failed`.
    package func text(_ name: String, of object: String = "/") throws -> String? {
        let opened = try open(object)
        return try HDF5Attributes.string(name, of: opened, at: location(object))
    }

    /// The integers of the attribute `name` of the group or dataset `object`; nil if the attribute does not exist.
    ///
    /// - Throws: `HDF5Error.attribute` if the values are not integers, `.object` with `.missing` if there is no such
    ///   object, `.failed`.
    package func integers(_ name: String, of object: String = "/") throws -> [Int]? {
        let opened = try open(object)
        return try HDF5Attributes.integers(name, of: opened, at: location(object))
    }

    /// The floating-point number of the attribute `name` of the group or dataset `object`; nil if the attribute does
    /// not exist.
    ///
    /// - Throws: as `integers`.
    package func float(_ name: String, of object: String = "/") throws -> Float? {
        let opened = try open(object)
        return try HDF5Attributes.float(name, of: opened, at: location(object))
    }

    /// Adds a text attribute to the group or dataset `object`.
    ///
    /// - Throws: `HDF5Error`.
    package func setText(_ name: String, _ text: String, of object: String = "/") throws {
        let opened = try open(object)
        try HDF5Attributes.set(name, text, of: opened, at: location(object))
    }

    /// Adds an integer attribute to the group or dataset `object`.
    ///
    /// - Throws: `HDF5Error`.
    package func setInteger(_ name: String, _ value: Int, of object: String = "/") throws {
        let opened = try open(object)
        try HDF5Attributes.set(name, [value], isList: false, of: opened, at: location(object))
    }

    /// Adds an attribute with a list of integers to the group or dataset `object`.
    ///
    /// - Throws: `HDF5Error`.
    package func setIntegers(_ name: String, _ values: [Int], of object: String = "/") throws {
        let opened = try open(object)
        try HDF5Attributes.set(name, values, isList: true, of: opened, at: location(object))
    }

    /// Adds a floating-point attribute to the group or dataset `object`.
    ///
    /// - Throws: `HDF5Error`.
    package func setFloat(_ name: String, _ value: Float, of object: String = "/") throws {
        let opened = try open(object)
        try HDF5Attributes.set(name, value, of: opened, at: location(object))
    }

    private func open(_ object: String) throws -> HDF5Handle {
        let location = location(object)
        guard try contains(object) else { throw HDF5Error.object(file: path, object: object, fault: .missing) }
        let isDataset = try kind(of: object, in: handle.id, location) == .dataset
        return try location.open(HDF5Operation.openObject, isDataset ? .dataset : .group) {
            isDataset
                ? H5Dopen2(handle.id, object, bf_h5p_default())
                : H5Gopen2(handle.id, object, bf_h5p_default())
        }
    }
}
