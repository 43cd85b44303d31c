// SPDX-License-Identifier: Apache-2.0
// Operands of products in bfloat16. An element is a word of two values that are neighbors along the depth of the
// product, so that panels of words are packed as panels of floats.
// A [M, K] · B [K, N] → C [M, N]; K2 = K / 2, rounded up: a missing last value is 0.

import CKernels

/// Matrices of words, in the memory of floats.
enum BFloatWords {
    /// The number of words of `count` values.
    static func count(_ count: Int) -> Int { (count + 1) / 2 }

    /// Row-major A [M, K] → [M, K2].
    static func rows(_ x: UnsafePointer<Float>, rows: Int, columns: Int) -> Storage {
        let words = count(columns)
        let result = Storage(count: rows * words)
        Threads.parallelFor(rows, grain: Threads.rowGrain(columns)) { range in
            encode(x + range.lowerBound * columns, range.count, columns, result.pointer + range.lowerBound * words)
        }
        return result
    }

    /// Row-major [K, M] → [K2, M], Aᵀ in words.
    static func pairsOfRows(_ x: UnsafePointer<Float>, rows: Int, columns: Int) -> Storage {
        let result = Storage(count: count(rows) * columns)
        Threads.parallelFor(count(rows), grain: Threads.rowGrain(2 * columns)) { range in
            let last = min(2 * range.upperBound, rows)
            encodePairs(
                x + 2 * range.lowerBound * columns, last - 2 * range.lowerBound, columns,
                result.pointer + range.lowerBound * columns)
        }
        return result
    }

    /// Words of neighbors in a row.
    static func encode(
        _ x: UnsafePointer<Float>, _ rows: Int, _ columns: Int, _ words: UnsafeMutablePointer<Float>
    ) {
        let bits = UnsafeMutableRawPointer(words).assumingMemoryBound(to: UInt16.self)
        guard columns % 2 == 1 else { return kernels.bfloat_from_float(x, bits, rows * columns) }
        for row in 0..<rows {
            let target = bits + row * (columns + 1)
            kernels.bfloat_from_float(x + row * columns, target, columns)
            target[columns] = 0
        }
    }

    /// Words of neighbors in a column.
    static func encodePairs(
        _ x: UnsafePointer<Float>, _ rows: Int, _ columns: Int, _ words: UnsafeMutablePointer<Float>
    ) {
        let words = UnsafeMutableRawPointer(words).assumingMemoryBound(to: UInt32.self)
        for pair in 0..<rows / 2 {
            let first = x + 2 * pair * columns
            kernels.bfloat_pairs(first, first + columns, words + pair * columns, columns)
        }
        guard rows % 2 == 1 else { return }
        let zeros = [Float](repeating: 0, count: columns)
        kernels.bfloat_pairs(x + (rows - 1) * columns, zeros, words + rows / 2 * columns, columns)
    }
}

extension PanelMatrix {
    /// Prepacks B in bfloat16, given as a weight [N, K] that is its transpose.
    init(bfloatTransposed weight: Tensor) {
        let (columns, depth) = (weight.shape[0], weight.shape[1])
        let words = BFloatWords.count(depth)
        self.init(depth: words, columns: columns, isBFloat: true)
        fill { range in
            weight.forEachRows(of: range, unit: Self.panel) { part, rows in
                let encoded = Storage(count: part.count * words)
                BFloatWords.encode(rows, part.count, depth, encoded.pointer)
                kernels.prepack_transposed(
                    encoded.pointer, part.count, words, words, panels(from: part.lowerBound))
                withExtendedLifetime(encoded) {}
            }
        }
    }

    /// Prepacks a matrix [K, N] in bfloat16; the rows of a lazy weight are read in parts.
    init(bfloat matrix: Tensor) {
        let (depth, columns) = (matrix.shape[0], matrix.shape[1])
        self.init(depth: BFloatWords.count(depth), columns: columns, isBFloat: true)
        Threads.parallelFor(self.depth, grain: Threads.rowGrain(2 * columns)) { range in
            let rows = 2 * range.lowerBound..<min(2 * range.upperBound, depth)
            matrix.forEachRows(of: rows, unit: 2) { part, values in
                let words = BFloatWords.count(part.count)
                let encoded = Storage(count: words * columns)
                BFloatWords.encodePairs(values, part.count, columns, encoded.pointer)
                packRows(encoded.pointer, words, from: part.lowerBound / 2)
                withExtendedLifetime(encoded) {}
            }
        }
    }
}
