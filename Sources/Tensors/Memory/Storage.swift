// SPDX-License-Identifier: Apache-2.0
// The reference-counted block behind a tensor.

/// A pooled block of Float32; returned to the pool when the last tensor on it goes.
final class Storage: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<Float>
    private let capacity: Int

    init(count: Int) {
        let block = BlockPool.shared.take(bytes: max(count, 1) * MemoryLayout<Float>.stride)
        pointer = block.pointer.assumingMemoryBound(to: Float.self)
        capacity = block.capacity
    }

    deinit { BlockPool.shared.give(pointer, capacity: capacity) }
}
