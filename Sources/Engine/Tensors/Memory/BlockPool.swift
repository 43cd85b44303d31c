// SPDX-License-Identifier: Apache-2.0
// The memory pool: size-classed free lists of blocks. Reusing a block costs no page faults, which for tensors
// above 32 MB are an order of magnitude dearer than the arithmetic on them.

import Foundation
import Synchronization

/// Hands out blocks of Float32 and keeps returned ones for reuse.
///
/// Size classes are an eighth of a power of two apart, so a block wastes less than 12.5 % (or 64 bytes). Blocks
/// of 1 MiB and more are aligned to 2 MiB and offered to the kernel as huge pages. What is kept is bounded: a new block
/// is not asked for while live and kept blocks together exceed the largest need so far by half of it and 64 MiB; then
/// blocks of the classes that were asked for least recently go back to the system first. Thread-safe.
package final class BlockPool: Sendable {
    package static let shared = BlockPool()

    private struct SizeClass {
        var blocks: [UnsafeMutableRawPointer] = []
        /// The pool's clock when a block was last asked for.
        var lastUse = 0
    }

    private struct FreeLists {
        var classes: [Int: SizeClass] = [:]
        var clock = 0
        var cachedBytes = 0
        var liveBytes = 0
        var peakLiveBytes = 0
        var allocations = 0

        /// Takes out what exceeds the bound, oldest classes first.
        mutating func excess() -> [UnsafeMutableRawPointer] {
            let bound = peakLiveBytes + peakLiveBytes / 2 + 64 << 20
            var excess: [UnsafeMutableRawPointer] = []
            while liveBytes + cachedBytes > bound,
                let oldest = classes.filter({ !$0.value.blocks.isEmpty }).min(by: {
                    $0.value.lastUse < $1.value.lastUse
                })?.key
            {
                while liveBytes + cachedBytes > bound, let block = classes[oldest]?.blocks.popLast() {
                    excess.append(block)
                    cachedBytes -= oldest
                }
            }
            return excess
        }
    }

    // The pointers inside are owned by the lists alone, so guarding the lists guards them.
    private struct Guarded: @unchecked Sendable { var lists = FreeLists() }
    private let state = Mutex(Guarded())

    /// Bytes handed out now, and the most at any time.
    package var liveBytes: Int { state.withLock { $0.lists.liveBytes } }
    package var peakLiveBytes: Int { state.withLock { $0.lists.peakLiveBytes } }
    /// Blocks that were asked from the system because none was kept for reuse.
    package var allocations: Int { state.withLock { $0.lists.allocations } }
    /// Bytes kept for reuse.
    package var cachedBytes: Int { state.withLock { $0.lists.cachedBytes } }

    /// The capacity in bytes of the class that holds `bytes`.
    package static func capacity(for bytes: Int) -> Int {
        let least = max(bytes, 64)
        let power = Int.bitWidth - 1 - least.leadingZeroBitCount
        let step = max(1 << max(power - 3, 0), 64)
        return (least + step - 1) / step * step
    }

    /// A block of at least `bytes` bytes, uninitialised, 64-byte aligned.
    func take(bytes: Int) -> (pointer: UnsafeMutableRawPointer, capacity: Int) {
        let capacity = Self.capacity(for: bytes)
        struct Taken: @unchecked Sendable {
            var block: UnsafeMutableRawPointer?
            var excess: [UnsafeMutableRawPointer] = []
        }
        let taken = state.withLock { guarded -> Taken in
            guarded.lists.clock += 1
            guarded.lists.liveBytes += capacity
            guarded.lists.peakLiveBytes = max(guarded.lists.peakLiveBytes, guarded.lists.liveBytes)
            let block = guarded.lists.classes[capacity, default: SizeClass()].blocks.popLast()
            guarded.lists.classes[capacity]?.lastUse = guarded.lists.clock
            guard block == nil else {
                guarded.lists.cachedBytes -= capacity
                return Taken(block: block)
            }
            guarded.lists.allocations += 1
            return Taken(excess: guarded.lists.excess())
        }
        for block in taken.excess { free(block) }
        return (taken.block ?? Self.allocate(capacity), capacity)
    }

    /// Takes a block back.
    func give(_ pointer: UnsafeMutableRawPointer, capacity: Int) {
        nonisolated(unsafe) let block = pointer
        state.withLock { guarded in
            guarded.lists.liveBytes -= capacity
            guarded.lists.cachedBytes += capacity
            guarded.lists.classes[capacity, default: SizeClass()].blocks.append(block)
        }
    }

    /// Returns every cached block to the system.
    package func trim() {
        let kept = state.withLock { guarded -> Guarded in
            let taken = guarded
            for capacity in guarded.lists.classes.keys { guarded.lists.classes[capacity]?.blocks = [] }
            guarded.lists.cachedBytes = 0
            return taken
        }
        for block in kept.lists.classes.values.flatMap(\.blocks) { free(block) }
    }

    private static func allocate(_ capacity: Int) -> UnsafeMutableRawPointer {
        let hugePage = 2 << 20
        let isLarge = capacity >= hugePage / 2
        var block: UnsafeMutableRawPointer?
        let status = posix_memalign(&block, isLarge ? hugePage : 64, capacity)
        guard status == 0, let block else {
            fatalError("out of memory: a block of \(capacity) bytes was refused (error \(status))")
        }
        #if os(Linux)
            if isLarge { madvise(block, capacity, Int32(MADV_HUGEPAGE)) }
        #endif
        return block
    }
}
