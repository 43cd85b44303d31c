// SPDX-License-Identifier: Apache-2.0
// The threads behind `Threads.parallelFor`. One region runs at a time; its ranges are claimed one by one from a
// ticket, and the caller waits for the ranges that were claimed, never for a worker: an empty region costs about a
// tenth of a microsecond even while the other cores are busy with something else.

import CKernels
import Foundation
import Synchronization

/// Worker threads that help a caller through the ranges of one region at a time.
///
/// Idle workers watch the ticket for some tens of microseconds, since training is hundreds of short regions in a
/// row, then sleep. Workers are started when first wanted and live as long as the process.
final class WorkerPool: Sendable {
    static let shared = WorkerPool()

    /// One region; it lives on its caller's stack.
    private struct Region {
        let count, rangeLength, ranges: Int
        let body: (Range<Int>) -> Void

        func run(_ index: Int) {
            body(index * rangeLength..<min((index + 1) * rangeLength, count))
        }
    }

    /// The region's number above 32 bits of how many of its ranges nobody has claimed yet. The number keeps a
    /// claim that was begun in one region from succeeding in the next.
    private let ticket = Atomic<UInt64>(0)
    /// The address of the `Region`; may be followed by whoever holds a claim that is not finished.
    private let region = Atomic<UInt>(0)
    /// Ranges of the region that have not run to their end.
    private let unfinished = Atomic<Int>(0)
    /// Workers with a lower number may claim.
    private let invited = Atomic<Int>(0)
    private let isTaken = Atomic<Bool>(false)
    /// Changed by the thread that has taken the pool only.
    private let started = Atomic<Int>(0)

    private let sleepers = Atomic<Int>(0)
    private let workArrived = NSCondition()
    private let callerSleeps = Atomic<Bool>(false)
    private let workFinished = NSCondition()

    /// Looks at the ticket before going to sleep; a pause between two of them takes 10 to 50 ns.
    private static let patience = 2000
    private static let processors = ProcessInfo.processInfo.activeProcessorCount

    /// Runs `body` on the ranges of `rangeLength` indices (the last may be shorter) that cover `0..<count`, on this
    /// thread and up to `threads - 1` others.
    ///
    /// - Returns: false, and nothing was run, when a region is running: this one is nested in it, or another
    ///   thread's.
    func run(count: Int, rangeLength: Int, threads: Int, _ body: (Range<Int>) -> Void) -> Bool {
        guard isTaken.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged else {
            return false
        }
        startWorkers(threads - 1)
        let ranges = (count + rangeLength - 1) / rangeLength
        precondition(ranges <= UInt32.max, "parallel region: \(ranges) ranges are too many")
        withoutActuallyEscaping(body) { body in
            var work = Region(count: count, rangeLength: rangeLength, ranges: ranges, body: body)
            withUnsafeMutablePointer(to: &work) { work in
                publish(work, ranges: ranges, workers: threads - 1)
                while let left = claim(worker: nil) {
                    work.pointee.run(ranges - left)
                    unfinished.subtract(1, ordering: .releasing)
                }
                awaitFinish()
            }
        }
        isTaken.store(false, ordering: .releasing)
        return true
    }

    private func publish(_ work: UnsafeMutablePointer<Region>, ranges: Int, workers: Int) {
        region.store(UInt(bitPattern: work), ordering: .relaxed)
        unfinished.store(ranges, ordering: .relaxed)
        invited.store(workers, ordering: .relaxed)
        let number = (ticket.load(ordering: .relaxed) >> 32) &+ 1
        // This store and the load below, against a worker's two in the other order: one of both sees the other.
        ticket.store(number << 32 | UInt64(ranges), ordering: .sequentiallyConsistent)
        if sleepers.load(ordering: .sequentiallyConsistent) > 0 {
            workArrived.lock()
            workArrived.broadcast()
            workArrived.unlock()
        }
    }

    /// Makes a range the calling thread's: how many were left, it included; nil when there is none for it.
    private func claim(worker: Int?) -> Int? {
        var seen = ticket.load(ordering: .acquiring)
        while true {
            let left = Int(truncatingIfNeeded: seen & 0xffff_ffff)
            guard left > 0 else { return nil }
            if let worker, worker >= invited.load(ordering: .acquiring) { return nil }
            let (exchanged, original) = ticket.weakCompareExchange(
                expected: seen, desired: seen - 1, ordering: .acquiringAndReleasing)
            if exchanged { return left }
            seen = original
        }
    }

    private func awaitFinish() {
        for _ in 0..<Self.patience {
            if unfinished.load(ordering: .acquiring) == 0 { return }
            bf_spin_hint()
        }
        // A worker holds a claim and is not running, most likely: leave the processor to it.
        workFinished.lock()
        callerSleeps.store(true, ordering: .sequentiallyConsistent)
        while unfinished.load(ordering: .sequentiallyConsistent) > 0 { workFinished.wait() }
        callerSleeps.store(false, ordering: .relaxed)
        workFinished.unlock()
    }

    private func finishClaim() {
        let left = unfinished.subtract(1, ordering: .sequentiallyConsistent).newValue
        if left == 0, callerSleeps.load(ordering: .sequentiallyConsistent) {
            workFinished.lock()
            workFinished.signal()
            workFinished.unlock()
        }
    }

    private func startWorkers(_ wanted: Int) {
        for index in started.load(ordering: .relaxed)..<max(wanted, started.load(ordering: .relaxed)) {
            let thread = Thread { [self] in work(index) }
            thread.name = "tensors-\(index)"
            thread.stackSize = 8 << 20
            thread.start()
            started.store(index + 1, ordering: .relaxed)
        }
    }

    private func work(_ worker: Int) {
        // More threads than processors must not watch: they would keep those with work from running.
        let patience = worker + 1 < Self.processors ? Self.patience : 1
        var looks = 0
        var lastTicket: UInt64 = 0
        while true {
            if let left = claim(worker: worker),
                let work = UnsafePointer<Region>(bitPattern: region.load(ordering: .relaxed))
            {
                work.pointee.run(work.pointee.ranges - left)
                finishClaim()
                looks = 0
                continue
            }
            let seen = ticket.load(ordering: .relaxed)
            looks = seen == lastTicket ? looks + 1 : 0
            lastTicket = seen
            if looks < patience {
                bf_spin_hint()
            } else {
                sleep(worker)
                looks = 0
            }
        }
    }

    private func sleep(_ worker: Int) {
        workArrived.lock()
        sleepers.add(1, ordering: .sequentiallyConsistent)
        while ticket.load(ordering: .sequentiallyConsistent) & 0xffff_ffff == 0
            || worker >= invited.load(ordering: .relaxed)
        {
            workArrived.wait()
        }
        sleepers.subtract(1, ordering: .relaxed)
        workArrived.unlock()
    }
}
