// SPDX-License-Identifier: Apache-2.0
// The machine's ceilings, measured in the run that they are compared with: Float32 multiply-adds in registers, and
// streaming through memory, with as many threads as the benchmarks use.

import BitsFusion
import CBenchmarkSupport

/// What the machine can do at most.
struct MachineCeiling: Codable {
    /// Float32 operations a second, 2 per multiply-add.
    var operationsPerSecond: Double
    /// Bytes a second of STREAM's triad on arrays beyond the caches.
    var bytesPerSecond: Double

    /// Measures for about a second. The best of several short runs counts, since other programs only take away.
    static func measured() -> MachineCeiling {
        defer { OwnContestant.releaseMemory() }
        return MachineCeiling(operationsPerSecond: multiplyAdds(runs: 12), bytesPerSecond: triad())
    }

    /// Looks again, for some hundredths of a second: the first look may have met other programs, or a cooler processor.
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
                    nonisolated(unsafe) let (sums, done) = (sums, done)
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
                        nonisolated(unsafe) let (x, y, z) = (a, b, out)
                        Threads.parallelFor(count, grain: 1 << 16) { range in
                            let at = range.lowerBound
                            bm_triad(x + at, y + at, 0.5, z + at, range.count)
                        }
                    }
                }
            }
            shortest = min(shortest, secondsNow() - start)
        }
        return Double(3 * 4 * count) / shortest
    }
}
