// SPDX-License-Identifier: Apache-2.0
// The reference-counted block behind a tensor.

import Synchronization

/// A pooled block of Float32; returned to the pool when the last tensor on it goes.
final class Storage: @unchecked Sendable {
    /// Floats asked for.
    let count: Int
    /// Makes the values; nil where they were written.
    let lazyRows: LazyRows?
    /// Set for the values of parameters: forms that kernels read are worth keeping. Set before the storage is shared.
    var prepackedForms: PrepackedForms?

    private let capacity: Int
    /// Where the block lies; 0 until the values are made.
    private let address: Atomic<UInt>

    init(count: Int) {
        let block = BlockPool.shared.take(bytes: Self.bytes(count))
        address = Atomic(UInt(bitPattern: block.pointer))
        capacity = block.capacity
        self.count = count
        lazyRows = nil
    }

    /// Values that `lazyRows` makes; memory for all of them is taken when somebody asks for their address.
    init(_ lazyRows: LazyRows) {
        count = lazyRows.rows * lazyRows.width
        capacity = BlockPool.capacity(for: Self.bytes(count))
        address = Atomic(0)
        self.lazyRows = lazyRows
    }

    private static func bytes(_ count: Int) -> Int { max(count, 1) * MemoryLayout<Float>.stride }

    var pointer: UnsafeMutablePointer<Float> {
        UnsafeMutablePointer(bitPattern: address.load(ordering: .acquiring)) ?? make()
    }

    /// Whether the values lie in memory.
    var isMade: Bool { address.load(ordering: .relaxed) != 0 }

    private func make() -> UnsafeMutablePointer<Float> {
        guard let lazyRows else { preconditionFailure("a storage has a block or makes one") }
        return lazyRows.exclusively {
            if let made = UnsafeMutablePointer<Float>(bitPattern: address.load(ordering: .acquiring)) {
                return made
            }
            let block = BlockPool.shared.take(bytes: Self.bytes(count)).pointer
            let values = block.assumingMemoryBound(to: Float.self)
            lazyRows.fill(values)
            address.store(UInt(bitPattern: block), ordering: .releasing)
            return values
        }
    }

    deinit {
        if let block = UnsafeMutableRawPointer(bitPattern: address.load(ordering: .relaxed)) {
            BlockPool.shared.give(block, capacity: capacity)
        }
    }
}
