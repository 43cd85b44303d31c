// SPDX-License-Identifier: Apache-2.0
// Weights whose rows are computed when they are read: fake-quantized weights, and 16-bit weights converted to Float32.
// Operations that prepack their weight read a few rows at a time, so that the dense weight is never stored in memory.

import Synchronization

/// A function that writes the rows of a matrix `[rows, rowLength]`.
package final class LazyRows: Sendable {
    let rows: Int
    let rowLength: Int
    private let write: @Sendable (Range<Int>, UnsafeMutablePointer<Float>) -> Void
    /// Held while the whole matrix is computed.
    private let materialization = Mutex<Void>(())

    init(
        rows: Int, rowLength: Int, write: @escaping @Sendable (Range<Int>, UnsafeMutablePointer<Float>) -> Void
    ) {
        (self.rows, self.rowLength, self.write) = (rows, rowLength, write)
    }

    /// Calls `make` with exclusive access, for a storage that materializes all rows.
    func exclusively<R>(_ make: () -> R) -> R { materialization.withLock { _ in make() } }

    /// Writes all rows.
    func fill(_ values: UnsafeMutablePointer<Float>) {
        Threads.parallelFor(rows, grain: Threads.rowGrain(rowLength)) { range in
            write(range, values + range.lowerBound * rowLength)
        }
    }

    /// Calls `body` with consecutive parts of `range` and the address of their values, which is valid during the call
    /// only. The length of every part but the last is a multiple of `unit` rows; a part has at most `floats` values, or
    /// one unit if that is larger.
    func forEachPart(
        of range: Range<Int>, unit: Int, floats: Int, _ body: (Range<Int>, UnsafePointer<Float>) -> Void
    ) {
        let length = max(floats / max(rowLength, 1) / unit, 1) * unit
        let scratch = Storage(count: min(length, range.count) * rowLength)
        for first in stride(from: range.lowerBound, to: range.upperBound, by: length) {
            let part = first..<min(first + length, range.upperBound)
            write(part, scratch.pointer)
            body(part, scratch.pointer)
        }
    }
}
