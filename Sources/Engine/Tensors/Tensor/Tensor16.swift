// SPDX-License-Identifier: Apache-2.0
// Mutable arrays of 16-bit floats, for values that are stored and updated in place, such as optimizer moments.

import CKernels

/// A multi-dimensional array of 16-bit floats in a pooled block; a reference, unlike `Tensor`.
package final class Tensor16: @unchecked Sendable {
    package let shape: [Int]
    package let type: ElementType
    package let count: Int
    private let storage: Storage

    /// All zeros.
    ///
    /// - Precondition: `type` is a 16-bit type.
    package init(zeros shape: [Int], type: ElementType) {
        precondition(type != .float32, "Tensor16: float32 is not a 16-bit type")
        self.shape = shape
        self.type = type
        count = shape.reduce(1, *)
        storage = Storage(count: (count + 1) / 2)
        let bits = pointer
        Threads.parallelFor(count, grain: elementwiseGrain) { range in
            (bits + range.lowerBound).update(repeating: 0, count: range.count)
        }
    }

    /// The bit patterns, row-major; valid while this object lives.
    package var pointer: UnsafeMutablePointer<UInt16> {
        UnsafeMutableRawPointer(storage.pointer).assumingMemoryBound(to: UInt16.self)
    }

    /// The values as Float32, off the tape.
    package func widened() -> Tensor {
        let result = Tensor(unsafeUninitialized: shape)
        Float16Bits.decode(UnsafeBufferPointer(start: pointer, count: count), type, into: result.pointer)
        return result
    }

    /// Replaces the contents by `values`, rounded to nearest even.
    ///
    /// - Precondition: `values` has this shape.
    package func assign(_ values: Tensor) {
        precondition(values.shape == shape, "Tensor16: values \(values.shape) for \(shape)")
        let encode = type == .float16 ? kernels.half_from_float : kernels.bfloat_from_float
        let (from, to) = (values.pointer, pointer)
        Threads.parallelFor(count, grain: elementwiseGrain) { range in
            encode(from + range.lowerBound, to + range.lowerBound, range.count)
        }
    }
}
