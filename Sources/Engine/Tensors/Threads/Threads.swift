// SPDX-License-Identifier: Apache-2.0
// Parallel loops over a configurable number of threads. OpenBLAS uses one thread per call, so that its threads never
// compete with these.

import COpenBLAS
import Foundation
import Synchronization

/// Minimum number of elements per task of an elementwise pass: microseconds of work, many times the cost of scheduling.
let elementwiseGrain = 1 << 13

/// Data-parallel loops.
public enum Threads {
    private static let threadCount = Atomic<Int>(initialCount)

    private static var initialCount: Int {
        ProcessInfo.processInfo.environment["BITSFUSION_THREADS"].flatMap(count(from:))
            ?? Processors.count
    }

    /// The numbers of threads that can be asked for.
    package static let countRange = 1...1024

    /// The number of threads that a value of `BITSFUSION_THREADS` asks for; nil for other texts, which are ignored.
    package static func count(from value: String) -> Int? {
        Int(value).flatMap { countRange.contains($0) ? $0 : nil }
    }

    /// Number of threads of a parallel loop, including the calling thread; `BITSFUSION_THREADS`, by default the number
    /// of processors that this process may use.
    public static var count: Int {
        get { threadCount.load(ordering: .relaxed) }
        set {
            precondition(newValue > 0, "Threads.count: \(newValue) is not positive")
            threadCount.store(newValue, ordering: .relaxed)
        }
    }

    /// Restricts OpenBLAS to the calling thread; evaluated once, before the first product.
    static let singleThreadedBLAS: Void = openblas_set_num_threads(1)

    /// Calls `body` on disjoint ranges that cover `0..<n`; the length of every range but the last is a multiple of
    /// `grain`.
    ///
    /// Ranges are assigned to threads dynamically. The call returns when all ranges are done. A nested loop, and a loop
    /// started while another thread runs one, runs on the calling thread. Results must not depend on the range
    /// boundaries.
    public static func parallelFor(_ n: Int, grain: Int = 1, _ body: (Range<Int>) -> Void) {
        guard n > 0 else { return }
        let grain = max(grain, 1)
        let chunks = (n + grain - 1) / grain
        let threads = min(count, chunks)
        // Four ranges per thread balance the load without the cost of scheduling every grain.
        if threads > 1,
            WorkerPool.shared.run(
                count: n, rangeLength: max(chunks / (threads * 4), 1) * grain, threads: threads, body)
        {
            return
        }
        body(0..<n)
    }

    /// The grain of a loop over rows of `rowLength` elements: as many rows as have `elements` elements, at least 1.
    package static func rowGrain(_ rowLength: Int, elements: Int = 1 << 13) -> Int {
        max(elements / max(rowLength, 1), 1)
    }
}
