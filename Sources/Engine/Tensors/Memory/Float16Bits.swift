// SPDX-License-Identifier: Apache-2.0
// Half precision as storage: IEEE half and bfloat16 live as 16-bit patterns and are decoded to compute.

import CKernels

/// How a stored number is encoded.
public enum ElementType: String, Codable, Sendable, CaseIterable {
    case float32, float16, bfloat16

    public var bytesPerElement: Int { self == .float32 ? 4 : 2 }
}

/// Conversions to and from 16-bit floats; rounding is to nearest even.
public enum Float16Bits {
    /// The 16-bit patterns of `values`.
    ///
    /// - Precondition: `type` is a 16-bit type.
    public static func encode(_ values: UnsafeBufferPointer<Float>, _ type: ElementType) -> [UInt16] {
        precondition(type != .float32, "Float16Bits.encode: float32 is no 16-bit type")
        guard let source = values.baseAddress else { return [] }
        return [UInt16](unsafeUninitializedCapacity: values.count) { bits, initialized in
            initialized = values.count
            guard let base = bits.baseAddress else { return }
            let encode = type == .float16 ? kernels.half_from_float : kernels.bfloat_from_float
            nonisolated(unsafe) let (from, to) = (source, base)
            Threads.parallelFor(values.count, grain: elementwiseGrain) { range in
                encode(from + range.lowerBound, to + range.lowerBound, range.count)
            }
        }
    }

    /// Decodes `bits` into `destination`, which has room for as many floats.
    ///
    /// - Precondition: `type` is a 16-bit type.
    public static func decode(
        _ bits: UnsafeBufferPointer<UInt16>, _ type: ElementType,
        into destination: UnsafeMutablePointer<Float>
    ) {
        precondition(type != .float32, "Float16Bits.decode: float32 is no 16-bit type")
        guard let source = bits.baseAddress else { return }
        let decode = type == .float16 ? kernels.float_from_half : kernels.float_from_bfloat
        nonisolated(unsafe) let (from, to) = (source, destination)
        Threads.parallelFor(bits.count, grain: elementwiseGrain) { range in
            decode(from + range.lowerBound, to + range.lowerBound, range.count)
        }
    }
}

/// A frozen weight kept in 16 bits and decoded at each use.
public final class Weight16: WeightSource, @unchecked Sendable {
    public let name: String
    public let shape: [Int]
    public let type: ElementType
    /// The stored patterns, row-major.
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
        let width = shape.dropFirst().reduce(1, *)
        return Tensor(shape) { [self] rows, values in
            let decode = type == .float16 ? kernels.float_from_half : kernels.float_from_bfloat
            bits.withUnsafeBufferPointer { bits in
                let own = bits[rows.lowerBound * width..<rows.upperBound * width]
                decode(UnsafeBufferPointer(rebasing: own).baseAddress, values, own.count)
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

    /// Whether float16 holds every value exactly, zeros with their signs.
    public var isExactInFloat16: Bool {
        zip(values, roundedToFloat16.values).allSatisfy { $0.bitPattern == $1.bitPattern }
    }
}
