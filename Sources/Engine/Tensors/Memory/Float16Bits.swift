// SPDX-License-Identifier: Apache-2.0
// 16-bit floats as storage formats: float16 (IEEE half) and bfloat16 bit patterns, converted to Float32 for
// computation.

import CKernels

/// The encoding of a stored number.
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
        precondition(type != .float32, "Float16Bits.encode: float32 is not a 16-bit type")
        guard let source = values.baseAddress else { return [] }
        return [UInt16](unsafeUninitializedCapacity: values.count) { bits, initialized in
            initialized = values.count
            guard let base = bits.baseAddress else { return }
            let encode = type == .float16 ? kernels.half_from_float : kernels.bfloat_from_float
            Threads.parallelFor(values.count, grain: elementwiseGrain) { range in
                encode(source + range.lowerBound, base + range.lowerBound, range.count)
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
        precondition(type != .float32, "Float16Bits.decode: float32 is not a 16-bit type")
        guard let source = bits.baseAddress else { return }
        let decode = type == .float16 ? kernels.float_from_half : kernels.float_from_bfloat
        Threads.parallelFor(bits.count, grain: elementwiseGrain) { range in
            decode(source + range.lowerBound, destination + range.lowerBound, range.count)
        }
    }
}
