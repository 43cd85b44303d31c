// SPDX-License-Identifier: Apache-2.0
// The memory pool: free lists of blocks by size class. Reusing a block avoids page faults, which for tensors above
// 32 MB cost ten times as much as the arithmetic on them.

import Foundation
import Synchronization

/// Allocates blocks of memory and caches returned blocks for reuse.
///
/// Size classes are an eighth of a power of two apart, so that a block wastes less than 12.5 % (or 64 bytes). Blocks of
/// 1 MiB and more are aligned to 2 MiB and marked for transparent huge pages. The cache is bounded: live and cached
/// blocks together take at most 1.5 times the peak of live bytes plus 64 MiB when a new block is allocated; cached
/// blocks of the least recently used classes are returned to the system first. Thread-safe.
package final class BlockPool: Sendable {
    package static let shared = BlockPool()

    private struct SizeClass {
        var blocks: [UnsafeMutableRawPointer] = []
        /// The pool's clock at the last request for a block of this class.
        var lastUse = 0
    }

    private struct FreeLists {
        var classes: [Int: SizeClass] = [:]
        var clock = 0
        var cachedBytes = 0
        var liveBytes = 0
        var peakLiveBytes = 0
        var allocations = 0

        /// Removes the blocks that exceed the bound, least recently used classes first.
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

    // Only the lists own the pointers in them, so that the lock of the lists protects both.
    private struct Guarded: @unchecked Sendable { var lists = FreeLists() }
    private let state = Mutex(Guarded())

    /// Bytes in use.
    package var liveBytes: Int { state.withLock { $0.lists.liveBytes } }
    /// The maximum of `liveBytes` so far.
    package var peakLiveBytes: Int { state.withLock { $0.lists.peakLiveBytes } }
    /// Number of blocks allocated from the system because no cached block fitted.
    package var allocations: Int { state.withLock { $0.lists.allocations } }
    /// Bytes of cached blocks.
    package var cachedBytes: Int { state.withLock { $0.lists.cachedBytes } }

    /// The capacity in bytes of the size class of `bytes`.
    package static func capacity(for bytes: Int) -> Int {
        let least = max(bytes, 64)
        let power = Int.bitWidth - 1 - least.leadingZeroBitCount
        let step = max(1 << max(power - 3, 0), 64)
        return (least + step - 1) / step * step
    }

    /// A block of at least `bytes` bytes, uninitialized, 64-byte aligned.
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

    /// Returns a block to the pool.
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
        let cached = state.withLock { guarded -> Guarded in
            let taken = guarded
            for capacity in guarded.lists.classes.keys { guarded.lists.classes[capacity]?.blocks = [] }
            guarded.lists.cachedBytes = 0
            return taken
        }
        for block in cached.lists.classes.values.flatMap(\.blocks) { free(block) }
    }

    private static func allocate(_ capacity: Int) -> UnsafeMutableRawPointer {
        let hugePage = 2 << 20
        let isLarge = capacity >= hugePage / 2
        var block: UnsafeMutableRawPointer?
        let status = posix_memalign(&block, isLarge ? hugePage : 64, capacity)
        guard status == 0, let block else {
            fatalError("out of memory: allocating \(capacity) bytes failed (error \(status))")
        }
        #if os(Linux)
            if isLarge { madvise(block, capacity, Int32(MADV_HUGEPAGE)) }
        #endif
        return block
    }
}
