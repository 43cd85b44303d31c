// SPDX-License-Identifier: Apache-2.0
// The reference-counted memory block of a tensor.

import Synchronization

/// A pooled block of Float32; returned to the pool with the last reference.
final class Storage: @unchecked Sendable {
    /// Number of floats requested.
    let count: Int
    /// Computes the values when they are first read; nil for ordinary storage.
    let lazyRows: LazyRows?
    /// The cache of prepacked forms, for values of parameters. Set before the storage is shared.
    var prepackedForms: PrepackedForms?

    private let capacity: Int
    /// The address of the block; 0 until lazy values are materialized.
    private let address: Atomic<UInt>

    init(count: Int) {
        let block = BlockPool.shared.take(bytes: Self.bytes(count))
        address = Atomic(UInt(bitPattern: block.pointer))
        capacity = block.capacity
        self.count = count
        lazyRows = nil
    }

    /// Values computed by `lazyRows`; memory is allocated when `pointer` is first read.
    init(_ lazyRows: LazyRows) {
        count = lazyRows.rows * lazyRows.rowLength
        capacity = BlockPool.capacity(for: Self.bytes(count))
        address = Atomic(0)
        self.lazyRows = lazyRows
    }

    private static func bytes(_ count: Int) -> Int { max(count, 1) * MemoryLayout<Float>.stride }

    var pointer: UnsafeMutablePointer<Float> {
        UnsafeMutablePointer(bitPattern: address.load(ordering: .acquiring)) ?? materialize()
    }

    /// Whether the values are in memory.
    var isMaterialized: Bool { address.load(ordering: .relaxed) != 0 }

    private func materialize() -> UnsafeMutablePointer<Float> {
        guard let lazyRows else { preconditionFailure("Storage: neither a block nor lazy rows") }
        return lazyRows.exclusively {
            if let existing = UnsafeMutablePointer<Float>(bitPattern: address.load(ordering: .acquiring)) {
                return existing
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

extension Storage {
    /// A block of bytes.
    convenience init(byteCount: Int) { self.init(count: (byteCount + 3) / 4) }

    var bytes: UnsafeMutablePointer<UInt8> {
        UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: UInt8.self)
    }
}
