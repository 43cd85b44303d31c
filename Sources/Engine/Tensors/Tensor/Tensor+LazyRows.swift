// SPDX-License-Identifier: Apache-2.0
// Tensors whose values are computed when they are read; see LazyRows.

extension Tensor {
    /// A tensor whose values are computed when they are read: at every use by operations that read rows, once for all
    /// other operations.
    ///
    /// - Parameters:
    ///   - shape: `[rows, ...]`.
    ///   - rows: writes the values of a range of rows; must write the same bits in every call, on any thread.
    package init(_ shape: [Int], rows: @escaping @Sendable (Range<Int>, UnsafeMutablePointer<Float>) -> Void) {
        precondition(!shape.isEmpty, "Tensor: a scalar has no rows")
        let rowLength = shape.dropFirst().reduce(1, *)
        self.init(storage: Storage(LazyRows(rows: shape[0], rowLength: rowLength, write: rows)), shape: shape)
    }

    /// Computes all values of a lazy tensor; otherwise does nothing.
    @discardableResult
    package func materialized() -> Tensor {
        _ = pointer
        return self
    }

    /// The rows of this weight if they have not been materialized.
    var lazyRows: LazyRows? {
        guard let source = storage.lazyRows, !storage.isMaterialized, offset == 0, source.rows == shape.first,
            source.rows * source.rowLength == count
        else { return nil }
        return source
    }

    /// Calls `body` with consecutive parts of the rows `range` (of the first axis) and the address of their values,
    /// which is valid during the call only. The length of every part but the last is a multiple of `unit` rows. Lazy
    /// rows are computed `floats` values at a time; the default fits into the second-level cache.
    func forEachRows(
        of range: Range<Int>, unit: Int = 1, floats: Int = 1 << 16,
        _ body: (Range<Int>, UnsafePointer<Float>) -> Void
    ) {
        guard !range.isEmpty else { return }
        if let lazyRows { return lazyRows.forEachPart(of: range, unit: unit, floats: floats, body) }
        body(range, pointer + range.lowerBound * (count / max(shape[0], 1)))
    }
}
