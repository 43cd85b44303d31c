// SPDX-License-Identifier: Apache-2.0
// Elementwise kernels and reductions of every table against the scalar reference, over awkward lengths.

import CKernels
import Foundation
import TestKit
import Testing

@testable import Tensors

@Suite struct ElementwiseKernelTests {
    @Test("arithmetic rounds once, in and out of place", arguments: KernelTable.available, awkwardLengths)
    func arithmetic(table: KernelTable, n: Int) {
        let a = normal([n], stream: 1).values, b = normal([n], stream: 2).values
        for operation in [BF_ADD, BF_SUB, BF_MUL, BF_DIV] {
            let vector = bf_binary_kernel(table.table, operation), scalar = bf_binary_kernel(referenceTable, operation)
            let expected = floats(n) { scalar(a, b, $0, n) }
            expectClose(floats(n) { vector(a, b, $0, n) }, expected, .exact, "\(operation)")
            expectClose(floats(n, from: a) { vector($0, b, $0, n) }, expected, .exact, "\(operation) in place")
        }
        for operation in [BF_ADD, BF_SUB, BF_MUL, BF_DIV] {
            let vector = bf_binary_scalar_kernel(table.table, operation)
            let scalar = bf_binary_scalar_kernel(referenceTable, operation)
            let expected = floats(n) { scalar(a, 1.7, $0, n) }
            expectClose(floats(n) { vector(a, 1.7, $0, n) }, expected, .exact, "right scalar")
            expectClose(floats(n, from: a) { vector($0, 1.7, $0, n) }, expected, .exact, "right scalar in place")
        }
        for operation in [BF_ADD, BF_SUB, BF_MUL, BF_DIV] {
            let vector = bf_scalar_binary_kernel(table.table, operation)
            let scalar = bf_scalar_binary_kernel(referenceTable, operation)
            expectClose(floats(n) { vector(-2.3, b, $0, n) }, floats(n) { scalar(-2.3, b, $0, n) }, .exact)
        }
    }

    @Test("fused updates agree with the scalar reference", arguments: KernelTable.available, awkwardLengths)
    func updates(table: KernelTable, n: Int) {
        let a = normal([n], stream: 1).values, b = normal([n], stream: 2).values
        let y = normal([n], stream: 3).values
        // y + a·b: with or without a rounding of the product, relative to terms of order 4.
        let tolerance = Tolerance(absolute: 16 * Tolerance.unitRoundoff, relative: 2 * Tolerance.unitRoundoff)
        expectClose(
            floats(n, from: y) { table.kernels.axpy(0.7, a, $0, n) },
            floats(n, from: y) { reference.axpy(0.7, a, $0, n) }, tolerance, "axpy")
        expectClose(
            floats(n, from: y) { table.kernels.multiply_add(a, b, $0, n) },
            floats(n, from: y) { reference.multiply_add(a, b, $0, n) }, tolerance, "multiply_add")
        expectClose(
            floats(n, from: y) { table.kernels.lerp($0, a, 0.01, n) },
            floats(n, from: y) { reference.lerp($0, a, 0.01, n) }, tolerance, "lerp")
    }

    /// Every unary kernel with the tolerances of its value and of its slope.
    static let unaryTolerances: [(name: String, kernel: bf_unary, value: Tolerance, slope: Tolerance)] = [
        ("silu", BF_SILU, .sigmoidFamily, .sigmoidSlope), ("gelu", BF_GELU, .geluFamily, .geluFamily),
        ("quick_gelu", BF_QUICK_GELU, .sigmoidFamily, .sigmoidSlope), ("relu", BF_RELU, .exact, .exact),
        ("mish", BF_MISH, .sigmoidFamily, .sigmoidSlope), ("exp", BF_EXP, .exponential, .exponential),
        ("square", BF_SQUARE, .oneRounding, .roundings(2)), ("sqrt", BF_SQRT, .oneRounding, .roundings(3)),
    ]

    @Test(
        "activations and their slopes agree with the scalar reference", arguments: KernelTable.available, awkwardLengths
    )
    func activations(table: KernelTable, n: Int) {
        let wide = uniform([n], -8, 8, stream: 4).values, g = normal([n], stream: 5).values
        #expect(Self.unaryTolerances.count == Int(BF_UNARY_COUNT.rawValue))
        for limits in Self.unaryTolerances {
            let value = (bf_unary_kernel(table.table, limits.kernel), bf_unary_kernel(referenceTable, limits.kernel))
            let slope = (
                bf_unary_grad_kernel(table.table, limits.kernel), bf_unary_grad_kernel(referenceTable, limits.kernel)
            )
            let x = limits.name == "sqrt" ? wide.map { abs($0) + 0.01 } : wide
            expectClose(
                floats(n) { value.0(x, $0, n) }, floats(n) { value.1(x, $0, n) }, limits.value, limits.name)
            // Slopes are multiplied by g, with magnitudes up to about 4, and so are their absolute errors.
            var scaled = limits.slope
            scaled.absolute *= 4
            scaled.relative += Tolerance.unitRoundoff
            expectClose(
                floats(n) { slope.0(x, g, $0, n) }, floats(n) { slope.1(x, g, $0, n) },
                limits.name == "relu" ? .exact : scaled, limits.name + " slope")
            #expect(
                floats(n, from: g) { slope.0(x, $0, $0, n) } == floats(n) { slope.0(x, g, $0, n) },
                "\(limits.name) slope in place")
        }
    }

    @Test("geglu and its gradient agree with the scalar reference", arguments: KernelTable.available, awkwardLengths)
    func gatedGELU(table: KernelTable, d: Int) {
        let x = normal([2 * d], stream: 6).values, g = normal([d], stream: 7).values
        var tolerance = Tolerance.geluFamily
        tolerance.absolute *= 4
        tolerance.relative *= 2
        expectClose(
            floats(d) { table.kernels.geglu(x, $0, d) }, floats(d) { reference.geglu(x, $0, d) }, tolerance)
        tolerance.absolute *= 4
        expectClose(
            floats(2 * d) { table.kernels.geglu_grad(x, g, $0, d) },
            floats(2 * d) { reference.geglu_grad(x, g, $0, d) }, tolerance)
    }

    @Test("exp is correct at the limits of the number range", arguments: KernelTable.available)
    func exponentialEdges(table: KernelTable) {
        let x: [Float] = [
            -.infinity, .infinity, .nan, 88, -88, 0, -0.0, 88.72, 88.73, -87.3, -87.34, 1e30, -1e30,
        ]
        let exp = bf_unary_kernel(table.table, BF_EXP)
        let got = floats(x.count) { exp(x, $0, x.count) }
        #expect(got[0] == 0 && got[1] == .infinity && got[2].isNaN)
        expectClose(Array(got[3...4]), x[3...4].map { Foundation.exp(Double($0)) }, .exponential)
        #expect(got[5] == 1 && got[6] == 1)
        #expect(got[7].isFinite && got[8] == .infinity)
        // Subnormal results may be flushed.
        #expect(got[9] > 0 && got[10] >= 0 && got[10] < 0x1p-126)
        #expect(got[11] == .infinity && got[12] == 0)
        // The whole range.
        let sweep = uniform([200_000], -87.3, 88.7, stream: 8).values
        expectClose(
            floats(sweep.count) { exp(sweep, $0, sweep.count) }, sweep.map { Foundation.exp(Double($0)) },
            .exponential, "sweep")
    }

    @Test("activations propagate NaN and saturate at infinity", arguments: KernelTable.available)
    func activationEdges(table: KernelTable) {
        let x: [Float] = [.nan, 100, -100, 1e4, -1e4]
        for kind in [BF_SILU, BF_GELU, BF_QUICK_GELU, BF_MISH] {
            let kernel = bf_unary_kernel(table.table, kind)
            let got = floats(x.count) { kernel(x, $0, x.count) }
            #expect(got[0].isNaN)
            expectClose(
                Array(got[1...]), [100, 0, 1e4, 0], Tolerance(absolute: 1e-30, relative: 1e-6), "\(kind)")
        }
    }

    @Test("sums agree with the scalar reference", arguments: KernelTable.available, awkwardLengths)
    func sums(table: KernelTable, n: Int) {
        let a = normal([n], stream: 1).values, b = normal([n], stream: 2).values
        let products = zip(a, b).map { Double($0) * Double($1) }
        func limit(_ terms: [Double]) -> Tolerance {
            .float32Reduction(n: n, magnitude: terms.reduce(0) { $0 + abs($1) })
        }
        expectClose([table.kernels.sum(a, n)], [reference.sum(a, n)], limit(a.map(Double.init)), "sum")
        expectClose([table.kernels.dot(a, b, n)], [reference.dot(a, b, n)], limit(products), "dot")
        let squares = zip(a, b).map { (x, y) -> Double in
            let difference = Double(x) - Double(y)
            return difference * difference
        }
        expectClose(
            [Float(table.kernels.squared_distance(a, b, n))], [reference.squared_distance(a, b, n)],
            limit(squares), "squared_distance")
        for rows in [0, 1, 3] {
            let x = normal([rows * n], stream: 3).values
            expectClose(
                floats(n, from: a) { table.kernels.add_rows(x, $0, rows, n) },
                floats(n, from: a) { reference.add_rows(x, $0, rows, n) },
                .float32Reduction(n: rows + 1, magnitude: 16), "add_rows \(rows)")
        }
    }

    @Test("one non-finite number at any position is found", arguments: KernelTable.available, awkwardLengths)
    func finiteness(table: KernelTable, n: Int) {
        var x = [Float](repeating: .greatestFiniteMagnitude, count: n)
        #expect(table.kernels.all_finite(x, n))
        for position in Set([0, n / 2, n - 1]) where position >= 0 && position < n {
            for bad in [Float.nan, .infinity, -.infinity] {
                x[position] = bad
                #expect(!table.kernels.all_finite(x, n))
                #expect(!reference.all_finite(x, n))
                x[position] = -0.0
            }
        }
    }
}
