// SPDX-License-Identifier: Apache-2.0
// The common interface of files with named tensors: safetensors files, sharded folders, HDF5 checkpoints. Models read
// their parameters through it, independent of the format.

import Tensors

/// The type and shape of a stored tensor.
public struct StoredTensor: Equatable, Sendable {
    /// The element type; nil if checkpoints do not support it.
    public let type: StorageType?
    /// The name of the element type in the format of the file: "float16", "BF16", "F64" ...
    public let typeName: String
    public let shape: [Int]

    public init(type: StorageType, shape: [Int]) {
        self.type = type
        typeName = type.rawValue
        self.shape = shape
    }

    init(type: StorageType?, typeName: String, shape: [Int]) {
        self.type = type
        self.typeName = typeName
        self.shape = shape
    }

    /// The number of elements, the product of `shape`. Readers check that it does not overflow.
    public var count: Int { shape.reduce(1, *) }
    /// The number of bytes of all elements; 0 if the type is not supported.
    public var byteCount: Int { count * (type?.bytesPerElement ?? 0) }
}

/// Named tensors in an open file or folder. Reading is thread-safe.
public protocol TensorSource: AnyObject, Sendable {
    /// The path of the file or folder, for error messages.
    var path: String { get }
    /// All keys, sorted by their UTF-8 bytes.
    var keys: [String] { get }
    /// Type and shape of `key`, without reading elements; nil if there is no such key.
    func stored(_ key: String) -> StoredTensor?
    /// Reads the elements of `key` into `buffer` as they are stored: row-major, little-endian.
    ///
    /// - Precondition: `buffer.count` is the `byteCount` of the tensor, and its type is supported.
    /// - Throws: `CheckpointError.missingKey`; `HDF5Error` if reading an HDF5 file fails.
    func read(_ key: String, into buffer: UnsafeMutableRawBufferPointer) throws
    /// Reads the bytes `range` of the elements of `key` into `buffer`. Sources that can do so read no other bytes.
    ///
    /// - Precondition: `range` is within the tensor's `byteCount`, covers whole elements, and has the size of `buffer`.
    /// - Throws: as `read(_:into:)`.
    func read(_ key: String, bytes range: Range<Int>, into buffer: UnsafeMutableRawBufferPointer) throws
}

extension TensorSource {
    public func read(_ key: String, bytes range: Range<Int>, into buffer: UnsafeMutableRawBufferPointer) throws {
        let all = UnsafeMutableRawBufferPointer.allocate(byteCount: try require(key).byteCount, alignment: 64)
        defer { all.deallocate() }
        try read(key, into: all)
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: all[range]))
    }

    /// Type and shape of `key`.
    ///
    /// - Throws: `CheckpointError.missingKey`.
    public func require(_ key: String) throws -> StoredTensor {
        guard let found = stored(key) else { throw CheckpointError.missingKey(file: path, key: key) }
        return found
    }

    /// Type and shape of `key`, whose type must be one of `types`.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.elementType`.
    func require(_ key: String, _ types: [StorageType]) throws -> (StorageType, StoredTensor) {
        let found = try require(key)
        guard let type = found.type, types.contains(type) else {
            throw CheckpointError.elementType(
                file: path, key: key, expected: types.map(\.rawValue), found: found.typeName)
        }
        return (type, found)
    }

    /// The bytes of `key` as stored.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.elementType` for a type that is not supported; what `read(_:into:)`
    ///   throws.
    public func bytes(_ key: String) throws -> [UInt8] {
        try elements(key, as: UInt8.self, StorageType.allCases)
    }

    /// The integers of `key`, which may be stored in any integer type, such as timesteps and seeds.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.elementType` if the elements are not integers; what `read(_:into:)`
    ///   throws.
    public func integers(_ key: String) throws -> [Int] {
        switch try require(key, [.uint8, .int8, .int32, .int64, .uint64]).0 {
        case .uint8: try elements(key, as: UInt8.self, [.uint8]).map { Int($0) }
        case .int8: try elements(key, as: Int8.self, [.int8]).map { Int($0) }
        case .int32: try elements(key, as: Int32.self, [.int32]).map { Int($0) }
        case .uint64: try elements(key, as: UInt64.self, [.uint64]).map { Int(truncatingIfNeeded: $0) }
        default: try elements(key, as: Int64.self, [.int64]).map { Int($0) }
        }
    }

    /// The elements of `key` as `Element`; bytes are copied without conversion.
    func elements<Element: BitwiseCopyable>(
        _ key: String, as element: Element.Type, _ types: [StorageType]
    ) throws -> [Element] {
        let found = try require(key, types).1
        var failure: (any Error)?
        let stride = MemoryLayout<Element>.stride
        let values = [Element](unsafeUninitializedCapacity: found.byteCount / stride) { buffer, count in
            let raw = UnsafeMutableRawBufferPointer(
                start: buffer.baseAddress, count: found.byteCount)
            do {
                try read(key, into: raw)
                count = found.byteCount / stride
            } catch {
                failure = error
                count = 0
            }
        }
        if let failure { throw failure }
        return values
    }
}

/// Product of extents, or nil where one is negative or the product of those above 0 overflows. Where it does not, the
/// product of some of the extents does not overflow either.
func elementCount(_ shape: [Int]) -> Int? {
    var count = 1
    for extent in shape where extent != 0 {
        guard extent > 0 else { return nil }
        let (product, overflow) = count.multipliedReportingOverflow(by: extent)
        if overflow { return nil }
        count = product
    }
    return shape.contains(0) ? 0 : count
}
