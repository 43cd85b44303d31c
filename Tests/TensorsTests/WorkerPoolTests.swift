// SPDX-License-Identifier: Apache-2.0
// Stress tests of the worker threads: many short regions, nested regions, several callers, changing thread counts. Each
// test runs in a separate process, because the number of threads is a setting of the process.

import Foundation
import Synchronization
import Testing

@testable import Tensors

@Suite struct WorkerPoolTests {
    @Test("every range of 200,000 regions runs exactly once, before its region returns")
    func stress() async {
        await #expect(processExitsWith: .success) {
            let callers = 4, regions = 50_000
            let shared = Atomic<Int>(0)
            DispatchQueue.concurrentPerform(iterations: callers) { caller in
                var random = UInt64(caller + 1)
                func next(_ bound: Int) -> Int {
                    random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    return Int(random >> 33) % bound
                }
                let visits = UnsafeMutablePointer<Int>.allocate(capacity: 64)
                nonisolated(unsafe) let cells = visits
                for region in 0..<regions {
                    if next(8) == 0 { Threads.count = 1 + next(5) }
                    let n = next(65), grain = 1 + next(4)
                    cells.update(repeating: 0, count: 64)
                    let isNested = region % 16 == 0
                    Threads.parallelFor(n, grain: grain) { range in
                        precondition(range.lowerBound % grain == 0, "a range starts off the grain")
                        guard isNested else {
                            for i in range { cells[i] += 1 }
                            return
                        }
                        Threads.parallelFor(range.count) { inner in
                            for i in inner { cells[range.lowerBound + i] += 1 }
                        }
                    }
                    for i in 0..<64 {
                        precondition(cells[i] == (i < n ? 1 : 0), "index \(i) of \(n): \(cells[i]) times")
                    }
                }
                visits.deallocate()
                shared.add(regions, ordering: .relaxed)
            }
            precondition(shared.load(ordering: .relaxed) == callers * regions)
        }
    }

    @Test("ranges run concurrently: two ranges that wait for each other both finish")
    func sharing() async {
        await #expect(processExitsWith: .success) {
            Threads.count = 2
            for _ in 0..<100 {
                let arrived = Atomic<Int>(0)
                Threads.parallelFor(2) { _ in
                    arrived.add(1, ordering: .sequentiallyConsistent)
                    while arrived.load(ordering: .sequentiallyConsistent) < 2 { sched_yield() }
                }
                // Long enough for the worker to sleep sometimes.
                usleep(200)
            }
        }
    }

    @Test("workers without work sleep")
    func idling() async {
        await #expect(processExitsWith: .success) {
            Threads.count = 4
            for _ in 0..<1000 { Threads.parallelFor(64) { _ in } }
            // The shortest of ten intervals, because the test runner itself uses CPU time in some of them.
            let spans = (0..<10).map { _ in
                let before = clock()
                usleep(40_000)
                return Double(clock() - before) / Double(CLOCKS_PER_SEC)
            }
            let least = spans.min() ?? 1
            precondition(least < 0.002, "\(spans) s of processor time in spans of 0.04 s without work")
        }
    }
}
