// SPDX-License-Identifier: Apache-2.0
// Weights stored as 16-bit floats.

/// A frozen weight stored in 16 bits and converted to Float32 at each use.
public final class Weight16: WeightSource, @unchecked Sendable {
    public let name: String
    public let shape: [Int]
    public let type: ElementType

    private enum Memory {
        case own([UInt16])
        case mapped(UnsafeBufferPointer<UInt16>, owner: AnyObject)
    }
    private let memory: Memory

    /// A weight with bit patterns of its own, row-major.
    public convenience init(name: String, bits: [UInt16], shape: [Int], type: ElementType) {
        self.init(name, .own(bits), count: bits.count, shape: shape, type: type)
    }

    /// A weight whose bit patterns, row-major, are in mapped memory, which exists as long as `owner`.
    public convenience init(
        name: String, mapped bits: UnsafeBufferPointer<UInt16>, owner: AnyObject, shape: [Int], type: ElementType
    ) {
        self.init(name, .mapped(bits, owner: owner), count: bits.count, shape: shape, type: type)
    }

    private init(_ name: String, _ memory: Memory, count: Int, shape: [Int], type: ElementType) {
        precondition(count == shape.reduce(1, *), "\(name): \(count) values for shape \(shape)")
        self.name = name
        self.memory = memory
        self.shape = shape
        self.type = type
    }

    /// The stored bit patterns, row-major.
    public func withUnsafeBits<Result>(_ body: (UnsafeBufferPointer<UInt16>) throws -> Result) rethrows -> Result {
        switch memory {
        case .own(let bits): try bits.withUnsafeBufferPointer(body)
        case .mapped(let bits, let owner): try withExtendedLifetime(owner) { try body(bits) }
        }
    }

    /// The stored bit patterns, row-major.
    public var bits: [UInt16] {
        switch memory {
        case .own(let bits): bits
        case .mapped: withUnsafeBits { Array($0) }
        }
    }

    public var parameters: [Parameter] { [] }

    public func tensor() -> Tensor {
        let dense = Tensor(unsafeUninitialized: shape)
        withUnsafeBits { Float16Bits.decode($0, type, into: dense.pointer) }
        return dense
    }

    public func lazyTensor() -> Tensor {
        guard !shape.isEmpty else { return tensor() }
        let rowLength = shape.dropFirst().reduce(1, *)
        return Tensor(shape) { [self] rows, values in
            let decode = type == .float16 ? kernels.float_from_half : kernels.float_from_bfloat
            withUnsafeBits { bits in
                let stored = bits[rows.lowerBound * rowLength..<rows.upperBound * rowLength]
                decode(UnsafeBufferPointer(rebasing: stored).baseAddress, values, stored.count)
            }
        }
    }
}

extension Tensor {
    /// The values rounded to float16.
    public var roundedToFloat16: Tensor {
        Weight16(
            name: "", bits: withUnsafeBufferPointer { Float16Bits.encode($0, .float16) }, shape: shape,
            type: .float16
        ).tensor()
    }

    /// Whether every value is exactly representable in float16, including the signs of zeros.
    public var isExactInFloat16: Bool {
        zip(values, roundedToFloat16.values).allSatisfy { $0.bitPattern == $1.bitPattern }
    }
}
