// SPDX-License-Identifier: Apache-2.0
// The right operand of a matrix product as prepacked panels, and the product itself, divided over the threads.
// A [M, K] (read in place, any strides) · B [K, N] (prepacked) → C [M, N].

import CKernels

/// The left operand of a product, read in place: element (i, k) is `pointer[i * row + k * column]`.
struct LeftOperand {
    let pointer: UnsafePointer<Float>
    let row, column: Int

    init(_ pointer: UnsafePointer<Float>, row: Int, column: Int = 1) {
        (self.pointer, self.row, self.column) = (pointer, row, column)
    }

    /// A row-major matrix [K, M] seen as its transpose [M, K].
    static func transposed(_ pointer: UnsafePointer<Float>, columns: Int) -> LeftOperand {
        LeftOperand(pointer, row: 1, column: columns)
    }
}

/// The initial value of C in a product; the terms are added.
struct ProductStart {
    /// `[M]`.
    var rowBias: UnsafePointer<Float>?
    /// `[N]`.
    var columnBias: UnsafePointer<Float>?
    /// `[M, N]`, with the strides of C.
    var addend: UnsafePointer<Float>?
    /// The present contents of C.
    var accumulates = false
}

/// B in panels.
struct PanelMatrix {
    let storage: Storage
    /// K and N; K in words of two values for bfloat16.
    let depth, columns: Int
    /// Whether the panels are of words of two bfloat16.
    let isBFloat: Bool

    /// Columns of a panel.
    static let panel = 2 * kernels.vector_width

    /// Number of floats of the panels of `columns` columns and `depth` rows.
    static func floats(depth: Int, columns: Int) -> Int {
        let vector = kernels.vector_width
        return depth * ((columns + vector - 1) / vector * vector)
    }

    init(depth: Int, columns: Int, isBFloat: Bool = false) {
        (self.depth, self.columns, self.isBFloat) = (depth, columns, isBFloat)
        storage = Storage(count: Self.floats(depth: depth, columns: columns))
    }

    /// Existing panels.
    init(_ storage: Storage, depth: Int, columns: Int, isBFloat: Bool = false) {
        (self.storage, self.depth, self.columns, self.isBFloat) = (storage, depth, columns, isBFloat)
    }

    /// Prepacks a row-major [K, N] with leading dimension `ld`.
    init(_ x: UnsafePointer<Float>, depth: Int, columns: Int, ld: Int) {
        self.init(depth: depth, columns: columns)
        fill { range in
            kernels.prepack(x + range.lowerBound, depth, range.count, ld, panels(from: range.lowerBound))
        }
    }

    /// Prepacks a weight [K, N]; the rows of a lazy weight are read in parts.
    init(_ weight: Tensor) {
        let (depth, columns) = (weight.shape[0], weight.shape[1])
        guard weight.lazyRows != nil else {
            self.init(weight.pointer, depth: depth, columns: columns, ld: columns)
            return
        }
        self.init(depth: depth, columns: columns)
        Threads.parallelFor(depth, grain: Threads.rowGrain(columns)) { range in
            weight.forEachRows(of: range) { part, rows in packRows(rows, part.count, from: part.lowerBound) }
        }
    }

    /// Prepacks the rows `first ..< first + count` of B, row-major.
    func packRows(_ rows: UnsafePointer<Float>, _ count: Int, from first: Int) {
        for column in stride(from: 0, to: columns, by: Self.panel) {
            let width = min(Self.panel, columns - column)
            let target = panels(from: column) + first * Self.floats(depth: 1, columns: width)
            kernels.prepack(rows + column, count, width, columns, target)
        }
    }

    /// Prepacks B, given as a weight [N, K] that is its transpose.
    init(transposed weight: Tensor) {
        let (columns, depth) = (weight.shape[0], weight.shape[1])
        self.init(depth: depth, columns: columns)
        fill { range in
            weight.forEachRows(of: range, unit: Self.panel) { part, rows in
                kernels.prepack_transposed(rows, part.count, depth, depth, panels(from: part.lowerBound))
            }
        }
    }

    /// Prepacks B, given as its row-major transpose [N, K].
    init(transposed x: UnsafePointer<Float>, columns: Int, depth: Int, ld: Int) {
        self.init(depth: depth, columns: columns)
        fill { range in
            kernels.prepack_transposed(
                x + range.lowerBound * ld, range.count, depth, ld, panels(from: range.lowerBound))
        }
    }

    /// The address of the panel that begins at `column`, a multiple of `panel`.
    func panels(from column: Int) -> UnsafeMutablePointer<Float> { storage.pointer + column * depth }

    func fill(_ body: (Range<Int>) -> Void) {
        let grain = Threads.rowGrain(depth * Self.panel) * Self.panel
        Threads.parallelFor(columns, grain: grain, body)
    }

    /// C = A B + start, divided over the threads by rows or by panels, whichever gives more parts.
    func product(
        rows: Int, _ a: LeftOperand, into c: UnsafeMutablePointer<Float>, row cRow: Int,
        _ start: ProductStart = .init()
    ) {
        // The kernels hold addresses only.
        defer { withExtendedLifetime(storage) {} }
        let isShort = rows * columns * depth < 1 << 17
        if isShort {
            panelProduct(
                rows: rows, columns: columns, depth: depth, a, storage.pointer, into: c, row: cRow, start,
                isBFloat: isBFloat)
        } else if rows * 2 >= columns {
            Threads.parallelFor(rows, grain: Self.rowGrain) { range in
                let first = range.lowerBound
                var part = start
                part.rowBias = start.rowBias.map { $0 + first }
                part.addend = start.addend.map { $0 + first * cRow }
                panelProduct(
                    rows: range.count, columns: columns, depth: depth,
                    LeftOperand(a.pointer + first * a.row, row: a.row, column: a.column), storage.pointer,
                    into: c + first * cRow, row: cRow, part, isBFloat: isBFloat)
            }
        } else {
            Threads.parallelFor(columns, grain: Self.panel) { range in
                let first = range.lowerBound
                var part = start
                part.columnBias = start.columnBias.map { $0 + first }
                part.addend = start.addend.map { $0 + first }
                panelProduct(
                    rows: rows, columns: range.count, depth: depth, a, panels(from: first), into: c + first,
                    row: cRow, part, isBFloat: isBFloat)
            }
        }
    }

    /// Minimum number of rows of a task; a multiple of the row block of every kernel.
    private static let rowGrain = 84
}

/// C = A B + start on the calling thread; `b` begins at a panel.
@inline(__always)
func panelProduct(
    rows: Int, columns: Int, depth: Int, _ a: LeftOperand, _ b: UnsafePointer<Float>,
    into c: UnsafeMutablePointer<Float>, row cRow: Int, _ start: ProductStart = .init(), isBFloat: Bool = false
) {
    var product = bf_gemm(
        rows: rows, columns: columns, depth: depth, a: a.pointer, a_row: a.row, a_column: a.column, b: b,
        c: c, c_row: cRow, row_bias: start.rowBias, column_bias: start.columnBias, addend: start.addend,
        accumulate: start.accumulates)
    if isBFloat { kernels.gemm_bfloat(&product) } else { kernels.gemm(&product) }
}
