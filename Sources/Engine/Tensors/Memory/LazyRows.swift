// SPDX-License-Identifier: Apache-2.0
// Weights that are made when they are read: rounded to a grid, or widened from 16 bits. An operation that packs its weight
// anyway asks for a few rows at a time and packs them from the cache; the dense weight never lies in memory.

import Synchronization

/// How the rows of a matrix `[rows, width]` are made.
package final class LazyRows: Sendable {
    let rows: Int
    let width: Int
    private let write: @Sendable (Range<Int>, UnsafeMutablePointer<Float>) -> Void
    /// Held while the whole matrix is made.
    private let isMaking = Mutex<Void>(())

    init(
        rows: Int, width: Int, write: @escaping @Sendable (Range<Int>, UnsafeMutablePointer<Float>) -> Void
    ) {
        (self.rows, self.width, self.write) = (rows, width, write)
    }

    /// Calls `make` with exclusive access, for a storage that wants all rows.
    func exclusively<R>(_ make: () -> R) -> R { isMaking.withLock { _ in make() } }

    /// Writes all rows.
    func fill(_ values: UnsafeMutablePointer<Float>) {
        Threads.parallelFor(rows, grain: max(elementwiseGrain / max(width, 1), 1)) { range in
            write(range, values + range.lowerBound * width)
        }
    }

    /// Calls `body` with parts of `range` and the address of their values, which are gone when it returns. Parts are a
    /// multiple of `unit` rows long, but the last, and `floats` large at most, but where a unit is larger.
    func forEachPart(
        of range: Range<Int>, unit: Int, floats: Int, _ body: (Range<Int>, UnsafePointer<Float>) -> Void
    ) {
        let length = max(floats / max(width, 1) / unit, 1) * unit
        let scratch = Storage(count: min(length, range.count) * width)
        for first in stride(from: range.lowerBound, to: range.upperBound, by: length) {
            let part = first..<min(first + length, range.upperBound)
            write(part, scratch.pointer)
            body(part, scratch.pointer)
        }
    }
}

extension Tensor {
    /// A tensor whose values are made when they are read, each time by an operation that reads rows, once and for all by
    /// any other.
    ///
    /// - Parameters:
    ///   - shape: `[rows, ...]`.
    ///   - rows: writes the values of a range of rows; the same bits whenever it is called, on any thread.
    package init(_ shape: [Int], rows: @escaping @Sendable (Range<Int>, UnsafeMutablePointer<Float>) -> Void) {
        precondition(!shape.isEmpty, "Tensor: a scalar has no rows")
        let width = shape.dropFirst().reduce(1, *)
        self.init(
            storage: Storage(LazyRows(rows: shape[0], width: width, write: rows)), shape: shape)
    }

    /// Makes all values, where they are made when read.
    @discardableResult
    package func materialized() -> Tensor {
        _ = pointer
        return self
    }

    /// How the rows of this weight are made, where the values as a whole do not lie in memory.
    var lazyRows: LazyRows? {
        guard let source = storage.lazyRows, !storage.isMade, offset == 0, source.rows == shape.first,
            source.rows * source.width == count
        else { return nil }
        return source
    }

    /// Calls `body` with parts of the rows `range` (of the first axis), a multiple of `unit` rows long but the last, and
    /// the address of their values, which is good for the call only. Where values are made, they are made `floats` at a
    /// time: by default as many as stay in the second-level cache.
    func forEachRows(
        of range: Range<Int>, unit: Int = 1, floats: Int = 1 << 16,
        _ body: (Range<Int>, UnsafePointer<Float>) -> Void
    ) {
        guard !range.isEmpty else { return }
        if let lazyRows { return lazyRows.forEachPart(of: range, unit: unit, floats: floats, body) }
        body(range, pointer + range.lowerBound * (count / max(shape[0], 1)))
    }
}
