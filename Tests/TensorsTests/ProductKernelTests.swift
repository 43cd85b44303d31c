// SPDX-License-Identifier: Apache-2.0
// Matrix products of every table against the definition in Double. Operands end at inaccessible pages, so that reads
// past the end are detected. A [M, K] · B [K, N] → C [M, N].

import CKernels
import TestKit
import Testing

@testable import Tensors

@Suite struct ProductKernelTests {
    /// M, N, K around blocks of rows, panels and slices of the depth, including empty matrices.
    private static let sizes: [[Int]] = [
        [1, 1, 1], [3, 5, 7], [14, 32, 20], [15, 33, 17], [29, 16, 40], [57, 31, 9], [6, 48, 641],
        [100, 65, 130],
        [28, 8, 1300], [5, 40, 0], [0, 4, 4], [4, 0, 4], [13, 3, 77], [43, 96, 64],
    ]

    private func prepacked(
        _ table: bf_kernel_table, depth: Int, columns: Int, _ body: (UnsafeMutablePointer<Float>) -> Void
    )
        -> [Float]
    {
        let vector = table.vector_width
        return floats(depth * ((columns + vector - 1) / vector * vector), body)
    }

    @Test(
        "products agree with the definition, for all initial values and strides", arguments: KernelTable.available)
    func definition(table: KernelTable) throws {
        let kernels = table.kernels
        for (index, size) in Self.sizes.enumerated() {
            let (m, n, k) = (size[0], size[1], size[2])
            let a = normal([m, k], stream: 1).values, b = normal([k, n], stream: 2).values
            let c = normal([m, n + 3], stream: 3).values, addend = normal([m, n + 3], stream: 4).values
            let rowBias = normal([m], stream: 5).values, columnBias = normal([n], stream: 6).values
            let (left, right) = (try GuardedBuffer(a), try GuardedBuffer(b))
            let turnedA = try GuardedBuffer((0..<k * m).map { a[$0 % m * k + $0 / m] })
            let turnedB = try GuardedBuffer((0..<n * k).map { b[$0 % k * n + $0 / k] })
            let panels = prepacked(kernels, depth: k, columns: n) {
                kernels.prepack(right.pointer, k, n, n, $0)
            }
            let fromTranspose = prepacked(kernels, depth: k, columns: n) {
                kernels.prepack_transposed(turnedB.pointer, n, k, k, $0)
            }
            #expect(panels == fromTranspose, "packing of \(size)")
            for start in 0..<4 {
                let (accumulates, adds) = (start & 1 == 1, start & 2 == 2)
                let result = floats(c.count, from: c) { to in
                    var product = bf_gemm(
                        rows: m, columns: n, depth: k, a: index % 2 == 0 ? left.pointer : turnedA.pointer,
                        a_row: index % 2 == 0 ? k : 1, a_column: index % 2 == 0 ? 1 : m, b: nil, c: to,
                        c_row: n + 3, row_bias: nil, column_bias: nil, addend: nil, accumulate: accumulates)
                    panels.withUnsafeBufferPointer { panels in
                        rowBias.withUnsafeBufferPointer { rows in
                            columnBias.withUnsafeBufferPointer { columns in
                                addend.withUnsafeBufferPointer { addend in
                                    product.b = panels.baseAddress
                                    if adds {
                                        product.row_bias = rows.baseAddress
                                        product.column_bias = columns.baseAddress
                                        product.addend = addend.baseAddress
                                    }
                                    kernels.gemm(&product)
                                }
                            }
                        }
                    }
                }
                var expected = c.map(Double.init)
                for i in 0..<m {
                    for j in 0..<n {
                        let at = i * (n + 3) + j
                        var total = accumulates ? Double(c[at]) : 0
                        if adds { total += Double(rowBias[i]) + Double(columnBias[j]) + Double(addend[at]) }
                        for l in 0..<k { total += Double(a[i * k + l]) * Double(b[l * n + j]) }
                        expected[at] = total
                    }
                }
                expectClose(
                    result, expected, .float32Reduction(n: k + 4, magnitude: Double(k) * 1.3 + 4),
                    "\(size), start \(start)")
            }
        }
    }

    /// Words of two bfloat16: `[rows, columns]` with an even number of rows → `[rows / 2, columns]`.
    private func pairs(_ table: bf_kernel_table, _ x: [Float], rows: Int, columns: Int) -> [Float] {
        floats(rows / 2 * columns) { to in
            for pair in 0..<rows / 2 {
                let words = UnsafeMutableRawPointer(to + pair * columns).assumingMemoryBound(to: UInt32.self)
                x.withUnsafeBufferPointer { x in
                    guard let first = x.baseAddress else { return }
                    table.bfloat_pairs(first + 2 * pair * columns, first + (2 * pair + 1) * columns, words, columns)
                }
            }
        }
    }

    @Test("products of bfloat16 agree with the definition for rounded operands", arguments: KernelTable.available)
    func bfloatProducts(table: KernelTable) throws {
        let kernels = table.kernels
        for size in Self.sizes {
            let (m, n, k) = (size[0], size[1], size[2] / 2 * 2)
            let a = normal([k, m], stream: 1).values, b = normal([k, n], stream: 2).values
            let c = normal([m, n + 3], stream: 3).values, columnBias = normal([n], stream: 6).values
            // A is read as its transpose, so that both operands have their pairs in columns.
            let left = try GuardedBuffer(pairs(kernels, a, rows: k, columns: m))
            let right = try GuardedBuffer(pairs(kernels, b, rows: k, columns: n))
            let panels = prepacked(kernels, depth: k / 2, columns: n) {
                kernels.prepack(right.pointer, k / 2, n, n, $0)
            }
            let result = floats(c.count, from: c) { to in
                var product = bf_gemm(
                    rows: m, columns: n, depth: k / 2, a: left.pointer, a_row: 1, a_column: m, b: nil, c: to,
                    c_row: n + 3, row_bias: nil, column_bias: nil, addend: nil, accumulate: true)
                panels.withUnsafeBufferPointer { panels in
                    columnBias.withUnsafeBufferPointer { columns in
                        (product.b, product.column_bias) = (panels.baseAddress, columns.baseAddress)
                        kernels.gemm_bfloat(&product)
                    }
                }
            }
            func rounded(_ x: [Float]) -> [Double] { Tensor(x, shape: [x.count]).roundedToBFloat16.map(Double.init) }
            let (x, y) = (rounded(a), rounded(b))
            var expected = c.map(Double.init)
            for i in 0..<m {
                for j in 0..<n {
                    expected[i * (n + 3) + j] += Double(columnBias[j])
                    for l in 0..<k { expected[i * (n + 3) + j] += x[l * m + i] * y[l * n + j] }
                }
            }
            expectClose(
                result, expected, .float32Reduction(n: k + 4, magnitude: Double(k) * 1.3 + 4), "\(size)")
        }
    }

    @Test("pairs of bfloat16 are rounded as single ones", arguments: KernelTable.available)
    func bfloatPairs(table: KernelTable) {
        let first: [Float] = [1, -1.00390625, 3.0e38, .nan, .infinity, 1e-40, 0, -0.0] + normal([37], stream: 1).values
        let second = normal([first.count], stream: 2).values
        var words = [UInt32](repeating: 0, count: first.count)
        for (x, y) in [(first, second), (second, first)] {
            table.kernels.bfloat_pairs(x, y, &words, x.count)
            var (low, high) = ([UInt16](repeating: 0, count: x.count), [UInt16](repeating: 0, count: x.count))
            reference.bfloat_from_float(x, &low, x.count)
            reference.bfloat_from_float(y, &high, x.count)
            #expect(words == zip(low, high).map { UInt32($0) | UInt32($1) << 16 })
        }
    }

    @Test("panels of image patches contain the columns of im2col", arguments: KernelTable.available)
    func patches(table: KernelTable) throws {
        let kernels = table.kernels
        for (height, width, kernel, stride, pad) in [
            (5, 7, 3, 1, 1), (8, 8, 3, 2, 1), (9, 6, 3, 2, 0), (4, 33, 1, 1, 0), (6, 6, 5, 1, 2),
            (1, 1, 3, 1, 1),
        ] {
            let channels = 3
            let (oh, ow) = ((height + 2 * pad - kernel) / stride + 1, (width + 2 * pad - kernel) / stride + 1)
            let shape = bf_conv_shape(
                height: Int32(height), width: Int32(width), out_height: Int32(oh), out_width: Int32(ow),
                kernel_height: Int32(kernel), kernel_width: Int32(kernel), stride: Int32(stride),
                pad_top: Int32(pad), pad_left: Int32(pad))
            let x = try GuardedBuffer(normal([channels, height, width], stream: 1).values)
            let taps = channels * kernel * kernel
            for first in [0, min(2, oh * ow - 1)] {
                let count = oh * ow - first
                let columns: [Float] = floats(taps * count) {
                    reference.im2col(x.pointer, $0, shape, channels, first, count, count)
                }
                let expected = prepacked(kernels, depth: taps, columns: count) {
                    kernels.prepack(columns, taps, count, count, $0)
                }
                let result = prepacked(kernels, depth: taps, columns: count) {
                    kernels.prepack_image(x.pointer, shape, channels, first, count, $0)
                }
                #expect(result == expected, "\(height)x\(width), kernel \(kernel), stride \(stride)")
            }
        }
    }
}

extension Tensor {
    /// The values rounded to bfloat16.
    var roundedToBFloat16: [Float] {
        let bits = withUnsafeBufferPointer { Float16Bits.encode($0, .bfloat16) }
        return Weight16(name: "", bits: bits, shape: shape, type: .bfloat16).tensor().values
    }
}
