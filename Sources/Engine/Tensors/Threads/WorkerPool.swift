// SPDX-License-Identifier: Apache-2.0
// The threads of `Threads.parallelFor`. One parallel region runs at a time. Threads claim its ranges one by one from an
// atomic ticket, and the caller waits for claimed ranges only, never for idle workers: an empty region costs about 0.1
// us even if all other cores are busy.

import CKernels
import Foundation
import Synchronization

/// Worker threads that execute the ranges of one parallel region at a time together with the caller.
///
/// Idle workers poll the ticket for some tens of microseconds before they sleep, because training consists of hundreds
/// of short regions in sequence. Workers are started at first use and live as long as the process.
final class WorkerPool: Sendable {
    static let shared = WorkerPool()

    /// One region, stored on the stack of its caller.
    private struct Region {
        let count, rangeLength, ranges: Int
        let body: (Range<Int>) -> Void

        func run(_ index: Int) {
            body(index * rangeLength..<min((index + 1) * rangeLength, count))
        }
    }

    /// High 32 bits: the number of the region; low 32 bits: how many of its ranges are unclaimed. The region number
    /// makes a claim fail that was begun in an earlier region.
    private let ticket = Atomic<UInt64>(0)
    /// The address of the `Region`; may be dereferenced only by a thread with an unfinished claim.
    private let region = Atomic<UInt>(0)
    /// Number of ranges of the region that have not finished.
    private let unfinished = Atomic<Int>(0)
    /// Workers with an index below this number may claim ranges.
    private let invited = Atomic<Int>(0)
    private let isTaken = Atomic<Bool>(false)
    /// Number of started workers; written only by the thread that has taken the pool.
    private let started = Atomic<Int>(0)

    private let sleepers = Atomic<Int>(0)
    private let workArrived = NSCondition()
    private let callerSleeps = Atomic<Bool>(false)
    private let workFinished = NSCondition()

    /// Number of polls of the ticket before a thread sleeps; one poll takes 10 to 50 ns.
    private static let maxPolls = 2000
    private static let processors = Processors.count

    /// Runs `body` on the ranges of `rangeLength` indices (the last may be shorter) that cover `0..<count`, on this
    /// thread and up to `threads - 1` others.
    ///
    /// - Returns: false, without running anything, if a region is running already: an enclosing one, or one of another
    ///   thread.
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
        // A worker that goes to sleep does the same two accesses in the opposite order, so that one thread sees the
        // other.
        ticket.store(number << 32 | UInt64(ranges), ordering: .sequentiallyConsistent)
        if sleepers.load(ordering: .sequentiallyConsistent) > 0 {
            workArrived.lock()
            workArrived.broadcast()
            workArrived.unlock()
        }
    }

    /// Claims a range for the calling thread. Returns the number of unclaimed ranges before the claim, or nil if there
    /// is no range for this thread.
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
        for _ in 0..<Self.maxPolls {
            if unfinished.load(ordering: .acquiring) == 0 { return }
            bf_spin_hint()
        }
        // Most likely, a worker with a claim is not running: yield the processor to it.
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
        // Threads beyond the number of processors must not poll: they would delay threads that have work.
        let maxPolls = worker + 1 < Self.processors ? Self.maxPolls : 1
        var polls = 0
        var lastTicket: UInt64 = 0
        while true {
            if let left = claim(worker: worker),
                let work = UnsafePointer<Region>(bitPattern: region.load(ordering: .relaxed))
            {
                work.pointee.run(work.pointee.ranges - left)
                finishClaim()
                polls = 0
                continue
            }
            let seen = ticket.load(ordering: .relaxed)
            polls = seen == lastTicket ? polls + 1 : 0
            lastTicket = seen
            if polls < maxPolls {
                bf_spin_hint()
            } else {
                sleep(worker)
                polls = 0
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
