// SPDX-License-Identifier: Apache-2.0
// The ceilings of the machine, measured in the same run: Float32 multiply-adds in registers, and memory bandwidth, with
// the number of threads of the benchmarks.

import BitsFusion
import CBenchmarkSupport

/// The maximum rates of the machine.
struct MachineCeiling: Codable {
    /// Float32 operations per second, 2 per multiply-add.
    var operationsPerSecond: Double
    /// Bytes per second of STREAM's triad on arrays larger than the caches.
    var bytesPerSecond: Double

    /// Measures for about a second. The best of several short runs counts, because other programs only reduce rates.
    static func measured() -> MachineCeiling {
        defer { OwnSide.releaseMemory() }
        return MachineCeiling(operationsPerSecond: multiplyAdds(runs: 12), bytesPerSecond: triad())
    }

    /// Measures operations again, for some hundredths of a second, because the first measurement may have been
    /// disturbed.
    mutating func raise() {
        operationsPerSecond = max(operationsPerSecond, Self.multiplyAdds(runs: 4))
    }

    private static func multiplyAdds(runs: Int) -> Double {
        let threads = Threads.count
        let name = kernelInstructionSet
        var best = 0.0
        for _ in 0..<runs {
            let results = Tensor.zeros([threads])
            var done = [Double](repeating: 0, count: threads)
            let start = secondsNow()
            results.withUnsafeMutableBufferPointer { sums in
                done.withUnsafeMutableBufferPointer { done in
                    Threads.parallelFor(threads) { range in
                        for index in range { sums[index] = bm_multiply_add(name, 200_000, &done[index]) }
                    }
                }
            }
            best = max(best, done.reduce(0, +) / (secondsNow() - start))
        }
        return best
    }

    private static func triad() -> Double {
        let count = 24 << 20
        let (a, b, out) = (Tensor.ones([count]), Tensor.ones([count]), Tensor.zeros([count]))
        var shortest = Double.infinity
        for _ in 0..<8 {
            let start = secondsNow()
            a.withUnsafeBufferPointer { a in
                b.withUnsafeBufferPointer { b in
                    out.withUnsafeMutableBufferPointer { out in
                        guard let a = a.baseAddress, let b = b.baseAddress, let out = out.baseAddress else {
                            return
                        }
                        Threads.parallelFor(count, grain: 1 << 16) { range in
                            let start = range.lowerBound
                            bm_triad(a + start, b + start, 0.5, out + start, range.count)
                        }
                    }
                }
            }
            shortest = min(shortest, secondsNow() - start)
        }
        return Double(3 * 4 * count) / shortest
    }
}
