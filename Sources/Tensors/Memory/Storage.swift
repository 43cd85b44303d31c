// SPDX-License-Identifier: Apache-2.0
// The reference-counted block behind a tensor.

/// A pooled block of Float32; returned to the pool when the last tensor on it goes.
final class Storage: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<Float>
    /// Floats asked for.
    let count: Int
    private let capacity: Int
    /// Set for the values of parameters: forms that kernels read are worth keeping. Set before the storage is shared.
    var packedForms: PackedForms?

    init(count: Int) {
        let block = BlockPool.shared.take(bytes: max(count, 1) * MemoryLayout<Float>.stride)
        pointer = block.pointer.assumingMemoryBound(to: Float.self)
        capacity = block.capacity
        self.count = count
    }

    deinit { BlockPool.shared.give(pointer, capacity: capacity) }
}
