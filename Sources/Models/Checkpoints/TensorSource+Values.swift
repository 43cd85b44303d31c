// SPDX-License-Identifier: Apache-2.0
// Stored tensors as values in memory, and as bytes of another float type. All floats are checked to be finite.

import Tensors

extension StorageType {
    /// The float type of this name, nil for integers.
    public var elementType: ElementType? { ElementType(rawValue: rawValue) }

    /// The storage type of a float type.
    public init(_ type: ElementType) {
        switch type {
        case .float32: self = .float32
        case .float16: self = .float16
        case .bfloat16: self = .bfloat16
        }
    }

    static let floats: [StorageType] = [.float32, .float16, .bfloat16]
}

extension TensorSource {
    /// The tensor `key` in Float32; tensors stored in 16 bits are converted. Float32 elements are read directly into
    /// the memory of the tensor.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.elementType` if the elements are not floats, `.notFinite`; what
    ///   `read(_:into:)` throws.
    public func tensor(_ key: String) throws -> Tensor {
        let (type, found) = try require(key, StorageType.floats)
        guard type == .float32 else { return try halfWeight(key).tensor() }
        let tensor = Tensor(unsafeUninitialized: found.shape)
        try tensor.withUnsafeMutableBufferPointer { values in
            Result { () throws in
                try read(key, into: UnsafeMutableRawBufferPointer(values))
                try check(key, NonFinite.find(in: UnsafeBufferPointer(values)))
            }
        }.get()
        return tensor
    }

    /// The tensor `key`, which is stored in 16 bits, without conversion.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.elementType` if it is not float16 or bfloat16, `.notFinite`; what
    ///   `read(_:into:)` throws.
    public func halfWeight(_ key: String) throws -> Weight16 {
        let (type, found) = try require(key, [.float16, .bfloat16])
        let half: ElementType = type == .float16 ? .float16 : .bfloat16
        let bits = try elements(key, as: UInt16.self, [type])
        try check(key, bits.withUnsafeBufferPointer { NonFinite.find(in: $0, half) })
        return Weight16(name: key, bits: bits, shape: found.shape, type: half)
    }

    /// The float tensor `key` in the 16-bit `type`, rounded to nearest even if it is stored in another type.
    ///
    /// - Throws: as `tensor(_:)`, and `CheckpointError.exceedsType` if a value is too large for `type`.
    public func halfWeight(
        _ key: String, roundedTo type: ElementType
    ) throws -> Weight16 {
        if try require(key).type?.elementType == type { return try halfWeight(key) }
        let dense = try tensor(key)
        let bits = try rounded(dense, to: type, key: key, file: path)
        return Weight16(name: key, bits: bits, shape: dense.shape, type: type)
    }

    private func check(_ key: String, _ fault: NonFinite?) throws {
        if let fault { throw CheckpointError.notFinite(file: path, key: key, index: fault.index, count: fault.count) }
    }

    /// The float tensor `key` as bytes of `type`, row-major and little-endian; nil: of the stored type.
    ///
    /// - Throws: as `tensor(_:)`, and `CheckpointError.exceedsType` if a value is too large for `type`.
    public func encoded(
        _ key: String, as type: ElementType? = nil
    ) throws -> (type: StorageType, shape: [Int], bytes: [UInt8]) {
        let (stored, found) = try require(key, StorageType.floats)
        let result = type ?? stored.elementType ?? .float32
        if stored == .float32 || result != stored.elementType {
            let bytes = try encode(try tensor(key), as: result, key: key, file: path)
            return (StorageType(result), found.shape, bytes)
        }
        return (stored, found.shape, try halfWeight(key).bits.withUnsafeBytes { Array($0) })
    }
}

/// The elements of `tensor` as bytes of `type`, rounded to nearest even.
///
/// - Throws: `CheckpointError.exceedsType` if rounding makes a finite value infinite.
package func encode(
    _ tensor: Tensor, as type: ElementType, key: String, file: String
) throws -> [UInt8] {
    if type == .float32 { return tensor.withUnsafeBufferPointer { Array(UnsafeRawBufferPointer($0)) } }
    return try rounded(tensor, to: type, key: key, file: file).withUnsafeBytes { Array($0) }
}

/// The elements of `tensor` as bit patterns of a 16-bit `type`, rounded to nearest even.
///
/// - Throws: `CheckpointError.exceedsType` if rounding makes a finite value infinite.
private func rounded(
    _ tensor: Tensor, to type: ElementType, key: String, file: String
) throws -> [UInt16] {
    try tensor.withUnsafeBufferPointer { values in
        Result { () throws in
            let bits = Float16Bits.encode(values, type)
            let fault = bits.withUnsafeBufferPointer { NonFinite.find(in: $0, type) }
            if let fault, values[fault.index].isFinite {
                throw CheckpointError.exceedsType(file: file, key: key, type: StorageType(type), index: fault.index)
            }
            return bits
        }
    }.get()
}
