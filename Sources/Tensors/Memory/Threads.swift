// SPDX-License-Identifier: Apache-2.0
// The one thread pool: Dispatch's, cut to a chosen number of threads. OpenBLAS is kept to one thread per call, so
// that the two never fight over the cores.

import COpenBLAS
import Dispatch
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
    /// Ranges are handed out as threads become free. Returns when all are done. Nested calls run inline.
    public static func parallelFor(_ n: Int, grain: Int = 1, _ body: (Range<Int>) -> Void) {
        let chunks = (n + grain - 1) / max(grain, 1)
        let threads = min(count, chunks)
        guard threads > 1, !isInside else {
            if n > 0 { body(0..<n) }
            return
        }
        // Four ranges a thread even out uneven progress without paying for one hand-out per grain.
        let perRange = max(chunks / (threads * 4), 1) * grain
        let next = Atomic<Int>(0)
        withoutActuallyEscaping(body) { body in
            // Callers write to disjoint parts of their buffers; the compiler cannot see that.
            nonisolated(unsafe) let work = body
            DispatchQueue.concurrentPerform(iterations: threads) { _ in
                $isInside.withValue(true) {
                    while true {
                        let start = next.wrappingAdd(perRange, ordering: .relaxed).oldValue
                        guard start < n else { return }
                        work(start..<min(start + perRange, n))
                    }
                }
            }
        }
    }

    @TaskLocal private static var isInside = false
}
