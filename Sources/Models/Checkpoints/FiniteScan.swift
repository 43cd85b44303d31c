// SPDX-License-Identifier: Apache-2.0
// Detects NaN and infinity in weights when they are loaded: one such value would make all outputs NaN. The scan uses
// all threads and is limited by memory bandwidth. The position of a value is determined only if there is one.

import Tensors

/// Number of values of one task: large compared with the cost of scheduling, small enough to balance the load.
private let scanGrain = 1 << 16

/// The positions of values that are not finite.
struct NonFinite: Equatable {
    /// Row-major index of the first one.
    let index: Int
    let count: Int

    /// The first NaN or infinity in `values`, or nil.
    static func find(in values: UnsafeBufferPointer<Float>) -> NonFinite? {
        guard let base = values.baseAddress else { return nil }
        nonisolated(unsafe) let start = base
        let isClean = allChunks(values.count) { kernels.all_finite(start + $0.lowerBound, $0.count) }
        return isClean ? nil : locate(values.count) { !values[$0].isFinite }
    }

    /// The first NaN or infinity among 16-bit floats of `type`, or nil.
    static func find(in bits: UnsafeBufferPointer<UInt16>, _ type: ElementType) -> NonFinite? {
        precondition(type != .float32, "NonFinite: float32 is no 16-bit type")
        guard let base = bits.baseAddress else { return nil }
        // All exponent bits set: infinity or NaN.
        let exponent: UInt16 = type == .float16 ? 0x7C00 : 0x7F80
        nonisolated(unsafe) let start = base
        let isClean = allChunks(bits.count) { range in
            var bad: UInt16 = 0
            for index in range { bad |= start[index] & exponent == exponent ? 1 : 0 }
            return bad == 0
        }
        return isClean ? nil : locate(bits.count) { bits[$0] & exponent == exponent }
    }

    private static func allChunks(_ count: Int, _ isClean: (Range<Int>) -> Bool) -> Bool {
        let chunks = (count + scanGrain - 1) / scanGrain
        var faults = [Bool](repeating: false, count: chunks)
        faults.withUnsafeMutableBufferPointer { buffer in
            nonisolated(unsafe) let faults = buffer
            Threads.parallelFor(chunks) { range in
                for chunk in range {
                    faults[chunk] = !isClean(chunk * scanGrain..<min(count, (chunk + 1) * scanGrain))
                }
            }
        }
        return !faults.contains(true)
    }

    private static func locate(_ count: Int, _ isBad: (Int) -> Bool) -> NonFinite? {
        let bad = (0..<count).lazy.filter(isBad)
        return bad.first.map { NonFinite(index: $0, count: bad.count) }
    }
}
