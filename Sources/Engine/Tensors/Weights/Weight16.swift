// SPDX-License-Identifier: Apache-2.0
// Weights stored as 16-bit floats.

/// A frozen weight stored in 16 bits and converted to Float32 at each use.
public final class Weight16: WeightSource, @unchecked Sendable {
    public let name: String
    public let shape: [Int]
    public let type: ElementType
    /// The stored bit patterns, row-major.
    public let bits: [UInt16]

    public init(name: String, bits: [UInt16], shape: [Int], type: ElementType) {
        precondition(bits.count == shape.reduce(1, *), "\(name): \(bits.count) values for shape \(shape)")
        self.name = name
        self.bits = bits
        self.shape = shape
        self.type = type
    }

    public var parameters: [Parameter] { [] }

    public func tensor() -> Tensor {
        let dense = Tensor(unsafeUninitialized: shape)
        bits.withUnsafeBufferPointer { Float16Bits.decode($0, type, into: dense.pointer) }
        return dense
    }

    public func lazyTensor() -> Tensor {
        guard !shape.isEmpty else { return tensor() }
        let rowLength = shape.dropFirst().reduce(1, *)
        return Tensor(shape) { [self] rows, values in
            let decode = type == .float16 ? kernels.float_from_half : kernels.float_from_bfloat
            bits.withUnsafeBufferPointer { bits in
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
