// SPDX-License-Identifier: Apache-2.0
// What every container of named tensors offers, whatever its format: safetensors files, sharded folders, HDF5
// checkpoints. Models read through this and never learn where their weights came from.

import Tensors

/// A tensor as it is stored.
public struct StoredTensor: Equatable, Sendable {
    /// Element type, or nil for one that checkpoints do not use (`typeName` tells which).
    public let type: StorageType?
    /// The type's name in its own format: "float16", "BF16", "F64" ...
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

    /// Product of `shape`. (Readers have checked that it does not overflow.)
    public var count: Int { shape.reduce(1, *) }
    /// Bytes of all elements; 0 where the type is not one that checkpoints use.
    public var byteCount: Int { count * (type?.bytesPerElement ?? 0) }
}

/// A container of named tensors, open for reading. Safe to read from several threads.
public protocol TensorSource: AnyObject, Sendable {
    /// The file or folder, for messages.
    var path: String { get }
    /// Every key, sorted by its UTF-8 bytes.
    var keys: [String] { get }
    /// Type and shape of `key`, or nil where it is not there. Reads no elements.
    func stored(_ key: String) -> StoredTensor?
    /// Reads the elements of `key`, row-major, little-endian, as stored, into `buffer`.
    ///
    /// - Precondition: `buffer.count` is the tensor's `byteCount`, and its type is one that checkpoints use.
    /// - Throws: `CheckpointError.missingKey` or what the file gives.
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
    /// - Throws: `CheckpointError.missingKey`, `.elementType` for a type that checkpoints do not use.
    public func bytes(_ key: String) throws -> [UInt8] {
        try elements(key, as: UInt8.self, StorageType.allCases)
    }

    /// Integers of any stored width, signed or not (timesteps, seeds).
    ///
    /// - Throws: `CheckpointError.missingKey`, `.elementType` where it holds something else.
    public func integers(_ key: String) throws -> [Int] {
        switch try require(key, [.uint8, .int8, .int32, .int64, .uint64]).0 {
        case .uint8: try elements(key, as: UInt8.self, [.uint8]).map { Int($0) }
        case .int8: try elements(key, as: Int8.self, [.int8]).map { Int($0) }
        case .int32: try elements(key, as: Int32.self, [.int32]).map { Int($0) }
        case .uint64: try elements(key, as: UInt64.self, [.uint64]).map { Int(truncatingIfNeeded: $0) }
        default: try elements(key, as: Int64.self, [.int64]).map { Int($0) }
        }
    }

    /// The elements of `key` in memory as `Element`; bytes are copied, not converted.
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

/// Orders keys by their UTF-8 bytes, the order of every list and file here: the same on each machine and in C.
func byBytes(_ a: String, _ b: String) -> Bool { a.utf8.lexicographicallyPrecedes(b.utf8) }

/// Up to four names, then how many more.
func listed(_ names: [String]) -> String {
    let shown = names.prefix(4).joined(separator: ", ")
    return names.count > 4 ? "\(shown) and \(names.count - 4) more" : shown
}

/// Product of extents, or nil where one is negative or the product overflows.
func elementCount(_ shape: [Int]) -> Int? {
    var count = 1
    for extent in shape {
        guard extent >= 0 else { return nil }
        let (product, overflow) = count.multipliedReportingOverflow(by: extent)
        if overflow { return nil }
        count = product
    }
    return count
}
