// SPDX-License-Identifier: Apache-2.0
// Parallel loops over a chosen number of threads. OpenBLAS is kept to one thread per call, so that the two never
// fight over the cores.

import COpenBLAS
import Foundation
import Synchronization

/// Data-parallel loops.
public enum Threads {
    private static let chosen = Atomic<Int>(initialCount)

    private static var initialCount: Int {
        let wish = ProcessInfo.processInfo.environment["BITSFUSION_THREADS"].flatMap(Int.init) ?? 0
        return wish > 0 ? wish : ProcessInfo.processInfo.activeProcessorCount
    }

    /// Threads that a parallel loop uses, the calling one included; from `BITSFUSION_THREADS`, else all processors.
    public static var count: Int {
        get { chosen.load(ordering: .relaxed) }
        set {
            precondition(newValue > 0, "Threads.count: \(newValue) is not positive")
            chosen.store(newValue, ordering: .relaxed)
        }
    }

    /// Keeps OpenBLAS to the calling thread; evaluated once, before the first product.
    static let singleThreadedBLAS: Void = openblas_set_num_threads(1)

    /// Calls `body` on disjoint ranges that cover `0..<n`, each a multiple of `grain` long but the last.
    ///
    /// Ranges are handed out as threads become free. Returns when all are done. A loop inside a loop, and one that
    /// meets another thread's, runs inline. Results must not depend on where ranges begin and end.
    public static func parallelFor(_ n: Int, grain: Int = 1, _ body: (Range<Int>) -> Void) {
        guard n > 0 else { return }
        let grain = max(grain, 1)
        let chunks = (n + grain - 1) / grain
        let threads = min(count, chunks)
        // Four ranges a thread even out uneven progress without paying for one hand-out per grain.
        if threads > 1,
            WorkerPool.shared.run(
                count: n, rangeLength: max(chunks / (threads * 4), 1) * grain, threads: threads, body)
        {
            return
        }
        body(0..<n)
    }
}
