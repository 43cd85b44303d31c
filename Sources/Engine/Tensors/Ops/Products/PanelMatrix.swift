// SPDX-License-Identifier: Apache-2.0
// The right operand of a product in the panels that the kernels read, and the product itself cut over the threads.
// A [M, K] (read in place, any strides) · B [K, N] (packed) → C [M, N].

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

/// What a product starts from.
struct ProductStart {
    /// Added to each row, to each column (`[M]`, `[N]`), and elementwise (as C lies).
    var rowBias: UnsafePointer<Float>?
    var columnBias: UnsafePointer<Float>?
    var addend: UnsafePointer<Float>?
    /// Add to what C holds.
    var accumulates = false
}

/// B in panels.
struct PanelMatrix {
    let storage: Storage
    /// K and N.
    let depth, columns: Int

    /// Columns of a panel.
    static let panel = 2 * kernels.vector_width

    /// Floats that `columns` packed columns of `depth` rows take.
    static func floats(depth: Int, columns: Int) -> Int {
        let vector = kernels.vector_width
        return depth * ((columns + vector - 1) / vector * vector)
    }

    init(depth: Int, columns: Int) {
        (self.depth, self.columns) = (depth, columns)
        storage = Storage(count: Self.floats(depth: depth, columns: columns))
    }

    /// Panels packed before.
    init(_ storage: Storage, depth: Int, columns: Int) {
        (self.storage, self.depth, self.columns) = (storage, depth, columns)
    }

    /// Packs a row-major [K, N] whose rows lie `ld` apart.
    init(_ x: UnsafePointer<Float>, depth: Int, columns: Int, ld: Int) {
        self.init(depth: depth, columns: columns)
        fill { range in
            kernels.prepack(x + range.lowerBound, depth, range.count, ld, panels(from: range.lowerBound))
        }
    }

    /// Packs a weight [K, N], its rows in parts where they are made as they are read.
    init(_ weight: Tensor) {
        let (depth, columns) = (weight.shape[0], weight.shape[1])
        guard weight.lazyRows != nil else {
            self.init(weight.pointer, depth: depth, columns: columns, ld: columns)
            return
        }
        self.init(depth: depth, columns: columns)
        let panel = Self.panel
        Threads.parallelFor(depth, grain: max(elementwiseGrain / max(columns, 1), 1)) { range in
            weight.forEachRows(of: range) { part, rows in
                for column in stride(from: 0, to: columns, by: panel) {
                    let count = min(panel, columns - column)
                    let width = Self.floats(depth: 1, columns: count)
                    kernels.prepack(
                        rows + column, part.count, count, columns,
                        panels(from: column) + part.lowerBound * width)
                }
            }
        }
    }

    /// Packs B given as a weight that is its transpose [N, K], likewise.
    init(transposed weight: Tensor) {
        let (columns, depth) = (weight.shape[0], weight.shape[1])
        self.init(depth: depth, columns: columns)
        fill { range in
            weight.forEachRows(of: range, unit: Self.panel) { part, rows in
                kernels.prepack_transposed(rows, part.count, depth, depth, panels(from: part.lowerBound))
            }
        }
    }

    /// Packs B given as its row-major transpose [N, K].
    init(transposed x: UnsafePointer<Float>, columns: Int, depth: Int, ld: Int) {
        self.init(depth: depth, columns: columns)
        fill { range in
            kernels.prepack_transposed(
                x + range.lowerBound * ld, range.count, depth, ld, panels(from: range.lowerBound))
        }
    }

    /// Where the panel that begins at `column`, a multiple of `panel`, lies.
    func panels(from column: Int) -> UnsafeMutablePointer<Float> { storage.pointer + column * depth }

    private func fill(_ body: (Range<Int>) -> Void) {
        let grain = max(elementwiseGrain / max(depth * Self.panel, 1), 1) * Self.panel
        Threads.parallelFor(columns, grain: grain, body)
    }

    /// C = A B + start, cut over the threads by rows or by panels, whichever there are more of.
    func product(
        rows: Int, _ a: LeftOperand, into c: UnsafeMutablePointer<Float>, row cRow: Int,
        _ start: ProductStart = .init()
    ) {
        // The kernels hold addresses alone.
        defer { withExtendedLifetime(storage) {} }
        let isShort = rows * columns * depth < 1 << 17
        if isShort {
            packedProduct(
                rows: rows, columns: columns, depth: depth, a, storage.pointer, into: c, row: cRow, start)
        } else if rows * 2 >= columns {
            Threads.parallelFor(rows, grain: Self.rowGrain) { range in
                let first = range.lowerBound
                var own = start
                own.rowBias = start.rowBias.map { $0 + first }
                own.addend = start.addend.map { $0 + first * cRow }
                packedProduct(
                    rows: range.count, columns: columns, depth: depth,
                    LeftOperand(a.pointer + first * a.row, row: a.row, column: a.column), storage.pointer,
                    into: c + first * cRow, row: cRow, own)
            }
        } else {
            Threads.parallelFor(columns, grain: Self.panel) { range in
                let first = range.lowerBound
                var own = start
                own.columnBias = start.columnBias.map { $0 + first }
                own.addend = start.addend.map { $0 + first }
                packedProduct(
                    rows: rows, columns: range.count, depth: depth, a, panels(from: first), into: c + first,
                    row: cRow, own)
            }
        }
    }

    /// Rows that a thread takes at least; a multiple of every kernel's block.
    private static let rowGrain = 84
}

/// C = A B + start on the calling thread; `b` begins at a panel.
@inline(__always)
func packedProduct(
    rows: Int, columns: Int, depth: Int, _ a: LeftOperand, _ b: UnsafePointer<Float>,
    into c: UnsafeMutablePointer<Float>, row cRow: Int, _ start: ProductStart = .init()
) {
    var product = bf_gemm(
        rows: rows, columns: columns, depth: depth, a: a.pointer, a_row: a.row, a_column: a.column, b: b,
        c: c, c_row: cRow, row_bias: start.rowBias, column_bias: start.columnBias, addend: start.addend,
        accumulate: start.accumulates)
    kernels.gemm(&product)
}
