// SPDX-License-Identifier: Apache-2.0
// The memory pool: size-classed free lists of blocks. Reusing a block costs no page faults, which for tensors
// above 32 MB are an order of magnitude dearer than the arithmetic on them.

import Foundation
import Synchronization

/// Hands out blocks of Float32 and keeps returned ones for reuse.
///
/// Size classes are an eighth of a power of two apart, so a block wastes less than 12.5 % (or 64 bytes). Blocks
/// of 1 MiB and more are aligned to 2 MiB and offered to the kernel as huge pages. Thread-safe.
package final class BlockPool: Sendable {
    package static let shared = BlockPool()

    private struct FreeLists {
        var blocks: [Int: [UnsafeMutableRawPointer]] = [:]
        var cachedBytes = 0
        var liveBytes = 0
        var peakLiveBytes = 0
        var allocations = 0
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
        struct Taken: @unchecked Sendable { var pointer: UnsafeMutableRawPointer? }
        let reused = state.withLock { guarded -> Taken in
            guarded.lists.liveBytes += capacity
            guarded.lists.peakLiveBytes = max(guarded.lists.peakLiveBytes, guarded.lists.liveBytes)
            guard let block = guarded.lists.blocks[capacity]?.popLast() else {
                guarded.lists.allocations += 1
                return Taken(pointer: nil)
            }
            guarded.lists.cachedBytes -= capacity
            return Taken(pointer: block)
        }
        return (reused.pointer ?? Self.allocate(capacity), capacity)
    }

    /// Takes a block back.
    func give(_ pointer: UnsafeMutableRawPointer, capacity: Int) {
        nonisolated(unsafe) let block = pointer
        state.withLock { guarded in
            guarded.lists.liveBytes -= capacity
            guarded.lists.cachedBytes += capacity
            guarded.lists.blocks[capacity, default: []].append(block)
        }
    }

    /// Returns every cached block to the system.
    package func trim() {
        let lists = state.withLock { guarded -> Guarded in
            let taken = guarded
            guarded.lists.blocks = [:]
            guarded.lists.cachedBytes = 0
            return taken
        }
        for block in lists.lists.blocks.values.joined() { free(block) }
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
