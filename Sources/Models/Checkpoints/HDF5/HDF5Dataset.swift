// SPDX-License-Identifier: Apache-2.0
// Datasets of HDF5 files. They are written contiguously and without compression, and read directly into the memory of
// the caller. Chunked and compressed datasets of other programs can be read too.

import CHDF5

/// An open dataset. Its elements are read and written completely, or by rows of the first axis.
package struct HDF5Dataset: ~Copyable {
    private let handle: HDF5Handle
    private let memoryType: HDF5Handle
    private let location: HDF5Location
    /// The stored element type.
    package let type: StorageType
    /// The extents, row-major; `[]` for a scalar.
    package let shape: [Int]
    /// The number of elements.
    package let count: Int
    /// The number of bytes of all elements.
    package var byteCount: Int { count * type.bytesPerElement }

    /// The attribute that distinguishes bfloat16 from uint16.
    static let typeAttribute = "dtype"

    private init(
        _ handle: consuming HDF5Handle, memoryType: consuming HDF5Handle, location: HDF5Location, type: StorageType,
        shape: [Int], count: Int
    ) {
        self.handle = handle
        self.memoryType = memoryType
        self.location = location
        self.type = type
        self.shape = shape
        self.count = count
    }

    /// Opens the dataset at the absolute path `object`.
    ///
    /// - Throws: `HDF5Error.object`: `.missing`, `.unsupportedType`, `.impossibleExtents` if the elements do not fit
    ///   into the file; `.attribute`; `.failed`.
    static func open(_ object: String, in file: borrowing HDF5File) throws -> HDF5Dataset {
        let location = file.location(object)
        guard try file.contains(object) else {
            throw HDF5Error.object(file: file.path, object: object, fault: .missing)
        }
        let fileID = file.handle.id
        let handle = try location.open(HDF5Operation.openObject, .dataset) {
            H5Dopen2(fileID, object, bf_h5p_default())
        }
        let stored = try location.open(HDF5Operation.openObject, .datatype) { H5Dget_type(handle.id) }
        let label = try HDF5Attributes.string(typeAttribute, of: handle, at: location)
        let type = try location.storageType(of: stored, isBfloat16: label == StorageType.bfloat16.rawValue)
        let shape = try extents(of: handle, location)
        try checkFilters(of: handle, location)
        let count = try checkedCount(shape, type, handle, location, fileSize: file.size)
        let memoryType = try location.datatype(type)
        return HDF5Dataset(
            handle, memoryType: memoryType, location: location, type: type, shape: shape, count: count)
    }

    /// Creates a dataset at the absolute path `object`, whose group must exist. Datasets without attributes are
    /// smaller.
    static func create(
        _ object: String, type: StorageType, shape: [Int], hasAttributes: Bool, in file: borrowing HDF5File
    ) throws -> HDF5Dataset {
        precondition(shape.allSatisfy { $0 >= 0 }, "HDF5: \(object) cannot have the shape \(shape)")
        let location = file.location(object)
        let fileType = try location.datatype(type)
        let handle = try create(
            object, fileType: fileType, shape: shape, hasAttributes: hasAttributes || type == .bfloat16, in: file)
        if type == .bfloat16 {
            try HDF5Attributes.set(typeAttribute, type.rawValue, of: handle, at: location)
        }
        return HDF5Dataset(
            handle, memoryType: fileType, location: location, type: type, shape: shape, count: shape.reduce(1, *))
    }

    /// Creates a contiguous dataset of any element type at the absolute path `object`, whose group must exist.
    static func create(
        _ object: String, fileType: borrowing HDF5Handle, shape: [Int], hasAttributes: Bool, in file: borrowing HDF5File
    ) throws -> HDF5Handle {
        let location = file.location(object)
        let operation = HDF5Operation.createDataset
        let extents = shape.map { hsize_t($0) }
        let space = try location.open(operation, .dataspace) {
            shape.isEmpty ? H5Screate(H5S_SCALAR) : H5Screate_simple(Int32(shape.count), extents, nil)
        }
        let creation = try location.open(operation, .properties) { H5Pcreate(bf_h5p_dataset_create()) }
        try location.call(operation) { H5Pset_obj_track_times(creation.id, false) }
        try location.call(operation) { H5Pset_layout(creation.id, H5D_CONTIGUOUS) }
        try location.call(operation) { H5Pset_dset_no_attrs_hint(creation.id, !hasAttributes) }
        try location.call(operation) { H5Pset_alloc_time(creation.id, H5D_ALLOC_TIME_EARLY) }
        // All elements are written later, so that fill values would double the writes.
        try location.call(operation) { H5Pset_fill_time(creation.id, H5D_FILL_TIME_NEVER) }
        let (fileID, typeID) = (file.handle.id, fileType.id)
        return try location.open(operation, .dataset) {
            H5Dcreate2(fileID, object, typeID, space.id, bf_h5p_default(), creation.id, bf_h5p_default())
        }
    }

    // MARK: Elements

    /// Reads all elements, row-major, into `buffer`.
    ///
    /// - Precondition: `buffer.count == byteCount`.
    /// - Throws: `HDF5Error`.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws {
        precondition(buffer.count == byteCount, "HDF5 read: buffer of \(buffer.count) bytes for \(byteCount)")
        guard let address = buffer.baseAddress, count > 0 else { return }
        try location.call(HDF5Operation.read) {
            H5Dread(handle.id, memoryType.id, bf_h5s_all(), bf_h5s_all(), bf_h5p_default(), address)
        }
    }

    /// Reads `rows` of the first axis into `buffer`, row-major.
    ///
    /// - Precondition: `rows` is within the first extent, and `buffer` has the size of these rows.
    /// - Throws: `HDF5Error`.
    package func read(rows: Range<Int>, into buffer: UnsafeMutableRawBufferPointer) throws {
        let (dataset, elementType) = (handle.id, memoryType.id)
        try transfer(rows, bytes: buffer.count, HDF5Operation.read) { memory, file in
            H5Dread(dataset, elementType, memory, file, bf_h5p_default(), buffer.baseAddress)
        }
    }

    /// Writes all elements, row-major, from `buffer`.
    ///
    /// - Precondition: `buffer.count == byteCount`.
    /// - Throws: `HDF5Error`; `FileError.writeFailed` if a system call failed.
    package func write(_ buffer: UnsafeRawBufferPointer) throws {
        precondition(
            buffer.count == byteCount, "HDF5 write: buffer of \(buffer.count) bytes for \(byteCount)")
        guard let address = buffer.baseAddress, count > 0 else { return }
        try location.call(HDF5Operation.write) {
            H5Dwrite(handle.id, memoryType.id, bf_h5s_all(), bf_h5s_all(), bf_h5p_default(), address)
        }
    }

    /// Writes `rows` of the first axis from `buffer`, row-major.
    ///
    /// - Precondition: as `read(rows:into:)`.
    /// - Throws: `HDF5Error`; `FileError.writeFailed` if a system call failed.
    package func write(rows: Range<Int>, _ buffer: UnsafeRawBufferPointer) throws {
        let (dataset, elementType) = (handle.id, memoryType.id)
        try transfer(rows, bytes: buffer.count, HDF5Operation.write) { memory, file in
            H5Dwrite(dataset, elementType, memory, file, bf_h5p_default(), buffer.baseAddress)
        }
    }

    /// Calls `body` with the dataspaces of `rows` in memory and in the file, unless the rows have no elements.
    private func transfer(
        _ rows: Range<Int>, bytes: Int, _ operation: String, _ body: (_ memory: hid_t, _ file: hid_t) -> herr_t
    ) throws {
        precondition(
            !shape.isEmpty && rows.lowerBound >= 0 && rows.upperBound <= shape[0],
            "HDF5 rows: \(rows) of shape \(shape)")
        let counts = ([rows.count] + shape.dropFirst())
        precondition(
            bytes == counts.reduce(type.bytesPerElement, *),
            "HDF5 rows: buffer of \(bytes) bytes for rows of shape \(counts)")
        let extents = counts.map { hsize_t($0) }
        let start = [hsize_t(rows.lowerBound)] + [hsize_t](repeating: 0, count: shape.count - 1)
        let file = try location.open(HDF5Operation.read, .dataspace) { H5Dget_space(handle.id) }
        try location.call(HDF5Operation.read) {
            H5Sselect_hyperslab(file.id, H5S_SELECT_SET, start, nil, extents, nil)
        }
        let memory = try location.open(HDF5Operation.read, .dataspace) {
            H5Screate_simple(Int32(extents.count), extents, nil)
        }
        if bytes == 0 { return }
        try location.call(operation) { body(memory.id, file.id) }
    }

    // MARK: Extents

    private static func extents(of dataset: borrowing HDF5Handle, _ location: HDF5Location) throws
        -> [Int]
    {
        let id = dataset.id
        let space = try location.open(HDF5Operation.openObject, .dataspace) { H5Dget_space(id) }
        if HDF5Location.locked({ H5Sget_simple_extent_type(space.id) }) == H5S_NULL {
            throw HDF5Error.object(
                file: location.file, object: location.object, fault: .unsupportedType("null dataspace"))
        }
        let rank = try location.call(HDF5Operation.openObject) { H5Sget_simple_extent_ndims(space.id) }
        var extents = [hsize_t](repeating: 0, count: Int(rank))
        try location.call(HDF5Operation.openObject) { H5Sget_simple_extent_dims(space.id, &extents, nil) }
        return extents.map { Int(clamping: $0) }
    }

    /// Refuses filters that the library does not have; reading would report the file as invalid.
    private static func checkFilters(of dataset: borrowing HDF5Handle, _ location: HDF5Location) throws {
        let id = dataset.id
        let properties = try location.open(HDF5Operation.openObject, .properties) { H5Dget_create_plist(id) }
        let list = properties.id
        let count = try location.call(HDF5Operation.openObject) { H5Pget_nfilters(list) }
        for index in 0..<UInt32(count) {
            var name = [CChar](repeating: 0, count: 64)
            var (flags, settings, values): (UInt32, UInt32, Int) = (0, 0, 0)
            let filter = try location.call(HDF5Operation.openObject) {
                H5Pget_filter2(list, index, &flags, &values, nil, name.count, &name, &settings)
            }
            if HDF5Location.locked({ H5Zfilter_avail(filter) }) > 0 { continue }
            let text = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            throw HDF5Error.object(
                file: location.file, object: location.object,
                fault: .missingFilter(name: text.isEmpty ? "unknown" : text, id: Int(filter)))
        }
    }

    /// Refuses extents that overflow or that the file cannot hold, before anyone allocates for them. Chunked data may
    /// be compressed; deflate, the tightest filter in use, shrinks at most 1032 times.
    private static func checkedCount(
        _ shape: [Int], _ type: StorageType, _ dataset: borrowing HDF5Handle, _ location: HDF5Location,
        fileSize: Int
    ) throws -> Int {
        let impossible = HDF5Error.object(
            file: location.file, object: location.object, fault: .impossibleExtents(shape))
        guard let count = elementCount(shape), count <= Int.max / 8 else { throw impossible }
        let bytes = count * type.bytesPerElement
        let id = dataset.id
        let properties = try location.open(HDF5Operation.openObject, .properties) { H5Dget_create_plist(id) }
        let isChunked = HDF5Location.locked { H5Pget_layout(properties.id) } == H5D_CHUNKED
        guard bytes <= (isChunked ? fileSize * 1032 : fileSize) else { throw impossible }
        return count
    }
}

extension HDF5File {
    /// Opens the dataset at the absolute path `object`.
    ///
    /// - Throws: as `HDF5Dataset.open`.
    package func dataset(_ object: String) throws -> HDF5Dataset {
        try HDF5Dataset.open(object, in: self)
    }

    /// Creates a dataset at the absolute path `object`, and its parent groups.
    ///
    /// - Throws: `HDF5Error`.
    package func createDataset(
        _ object: String, type: StorageType, shape: [Int], hasAttributes: Bool = false
    ) throws -> HDF5Dataset {
        try createParents(of: object)
        return try HDF5Dataset.create(
            object, type: type, shape: shape, hasAttributes: hasAttributes, in: self)
    }
}
