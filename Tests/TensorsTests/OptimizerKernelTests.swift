// SPDX-License-Identifier: Apache-2.0
// AdamW kernels of every table against the scalar reference, and the stochastic rounding of moments to bfloat16.

import CKernels
import TestKit
import Testing

@testable import Tensors

@Suite struct OptimizerKernelTests {
    private static let update = bf_adamw(
        learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, correction1: 1.5,
        correction2: 3, gradient_scale: 0.5, minimum: -0.75, average_rate: 0.3)

    /// Values, moments and average after one step with moments in Float32.
    private func step(_ kernels: bf_kernel_table, _ n: Int, averages: Bool) -> [[Float]] {
        var (m, v) = (normal([n], stream: 3).values, uniform([n], 0.01, 1, stream: 4).values)
        var average = normal([n], stream: 5).values
        let w = floats(n, from: normal([n], stream: 1).values) { w in
            withUnsafePointer(to: Self.update) { update in
                average.withUnsafeMutableBufferPointer { average in
                    kernels.adamw(
                        w, normal([n], stream: 2).values, &m, &v, averages ? average.baseAddress : nil, n,
                        update)
                }
            }
        }
        return [w, m, v, average]
    }

    @Test("a step agrees with the scalar reference", arguments: KernelTable.available, awkwardLengths)
    func float32(table: KernelTable, n: Int) {
        for averages in [false, true] where n > 0 || !averages {
            for (vector, scalar) in zip(
                step(table.kernels, n, averages: averages), step(reference, n, averages: averages))
            {
                expectClose(vector, scalar, .roundings(12, absolute: 16 * Tolerance.unitRoundoff))
            }
        }
        if n > 16 {
            let result = step(table.kernels, n, averages: true)
            #expect(result[0].contains(-0.75) && result[0].allSatisfy { $0 >= -0.75 }, "the minimum holds")
            #expect(result[3] != normal([n], stream: 5).values, "the average moves")
        }
    }

    @Test("sums of squares agree with the scalar reference, and overflow to infinity", arguments: KernelTable.available)
    func squares(table: KernelTable) {
        for n in awkwardLengths {
            let x = normal([n], stream: 7).values
            let expected = reference.squared_sum(x, n)
            // Blocks of 4096 terms are summed in Float32 with 32 partial sums.
            expectClose(
                [Float(table.kernels.squared_sum(x, n))], [expected],
                .float32Reduction(n: min(n, 4096) / 32 + 1, magnitude: expected))
        }
        #expect(table.kernels.squared_sum([1e30, 1], 2) == .infinity)
        #expect(table.kernels.squared_sum([.nan, 1], 2).isNaN)
    }

    /// Bit patterns of both moments after one bfloat16 step of `n` elements from element `first` on.
    private func halves(
        _ kernels: bf_kernel_table, gradient: [Float], m: [UInt16], v: [UInt16], first: Int = 0,
        update: bf_adamw = update, key: (seed: UInt64, stream: UInt64, update: UInt32) = (3, 5 << 33 | 7, 11)
    ) -> (w: [Float], m: [UInt16], v: [UInt16]) {
        let n = gradient.count
        let rounding = bf_rounding(seed: key.seed, stream: key.stream, update: key.update)
        var square = v
        var w: [Float] = []
        let mean = output(m, guarded: 0xABCD) { mean in
            w = floats(n, from: [Float](repeating: 1, count: n)) { w in
                withUnsafePointer(to: update) { update in
                    withUnsafePointer(to: rounding) {
                        kernels.adamw_bfloat(w, gradient, mean, &square, nil, n, update, $0, first)
                    }
                }
            }
        }
        return (w, mean, square)
    }

    /// An update whose moments are exact in Float32, so that tables cannot differ before rounding.
    private static let exact = bf_adamw(
        learning_rate: 0.01, beta1: 0.5, beta2: 0.5, epsilon: 1e-8, weight_decay: 0, correction1: 1,
        correction2: 1, gradient_scale: 1, minimum: -.infinity, average_rate: 0)

    /// The bfloat16 pattern of 1.
    private static let one: UInt16 = 0x3f80

    @Test(
        "moments in bfloat16 are rounded with the bits documented in the header, for any division of a parameter",
        arguments: KernelTable.available, awkwardLengths + [64, 128, 1000])
    func rounding(table: KernelTable, n: Int) {
        // The square of 1 + k/1024 is exact in Float32, and so are its means with 1.
        let gradient = (0..<n).map { 1 + Float($0 % 97) / 1024 }
        let ones = [UInt16](repeating: Self.one, count: n)
        for first in [0, 64, 1 << 20] {
            let found = halves(
                table.kernels, gradient: gradient, m: ones, v: ones, first: first, update: Self.exact)
            let expected = halves(
                reference, gradient: gradient, m: ones, v: ones, first: first, update: Self.exact)
            #expect(found.m == expected.m)
            #expect(found.v == expected.v)
            expectClose(found.w, expected.w.map(Double.init), .roundings(8))
        }
        guard n > 128 else { return }
        let whole = halves(table.kernels, gradient: gradient, m: ones, v: ones, update: Self.exact)
        let tail = halves(
            table.kernels, gradient: Array(gradient[128...]), m: Array(ones[128...]), v: Array(ones[128...]),
            first: 128, update: Self.exact)
        #expect(Array(whole.m[128...]) == tail.m && Array(whole.v[128...]) == tail.v)
        for other in [(4, 5, 11), (3, 6, 11), (3, 5 << 33 | 7, 12)] as [(UInt64, UInt64, UInt32)] {
            let changed = halves(
                table.kernels, gradient: gradient, m: ones, v: ones, update: Self.exact, key: other)
            #expect(changed.m != whole.m && changed.v != whole.v, "seed, stream and update all count")
        }
    }

    @Test("the expected value of a rounded moment is the moment", arguments: KernelTable.available)
    func unbiased(table: KernelTable) {
        let n = 1 << 16
        for gradient in [Float(1.003), -1.003] {
            let sign: UInt16 = gradient < 0 ? 0x8000 : 0
            let result = halves(
                table.kernels, gradient: [Float](repeating: gradient, count: n),
                m: [UInt16](repeating: Self.one | sign, count: n), v: [UInt16](repeating: Self.one, count: n),
                update: Self.exact)
            let mean = 0.5 * Double(gradient) + (gradient < 0 ? -0.5 : 0.5)
            let square = 0.5 + 0.5 * Double(gradient * gradient)
            for (patterns, expected, sign) in [(result.m, mean, sign), (result.v, square, 0)] {
                #expect(Set(patterns) == [Self.one | sign, (Self.one + 1) | sign])
                // One of two neighbors with distance 1/128; p is the probability of rounding up.
                let p = (abs(expected) - 1) * 128
                let up = Double(patterns.count { $0 != Self.one | sign }) / Double(n)
                #expect(abs(up - p) < 5 * (p * (1 - p) / Double(n)).squareRoot())
            }
        }
    }

    @Test("zeros stay zero, and the largest moments stay finite", arguments: KernelTable.available)
    func ends(table: KernelTable) {
        let n = 256
        let zeros = [UInt16](repeating: 0, count: n)
        let still = halves(
            table.kernels, gradient: [Float](repeating: 0, count: n), m: zeros, v: zeros, update: Self.exact)
        #expect(still.m == zeros && still.v == zeros)
        #expect(still.w == [Float](repeating: 1, count: n))
        let largest = [UInt16](repeating: 0x7f7f, count: n)
        let gradient = [Float](repeating: .greatestFiniteMagnitude, count: n)
        #expect(
            halves(table.kernels, gradient: gradient, m: largest, v: zeros, update: Self.exact).m == largest)
    }
}
