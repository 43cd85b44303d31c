// SPDX-License-Identifier: Apache-2.0
// Quantization kernels of every table against the scalar reference; rounding at ties.

import CKernels
import TestKit
import Testing

@testable import Tensors

@Suite struct QuantizationKernelTests {
    /// Codes in -q ... q, or in `low` ... q.
    private func codes(
        _ kernels: bf_kernel_table, _ w: [Float], _ scale: Float, _ q: Float, low: Float? = nil, shrink: Float = 0
    ) -> [Int16] {
        output([Int16](repeating: 0, count: w.count), guarded: 777) {
            kernels.quantize(w, scale, low ?? -q, q, shrink, $0, w.count)
        }
    }

    @Test("ties round to even and codes are clipped at the ends of the grid", arguments: KernelTable.available)
    func ties(table: KernelTable) {
        let w: [Float] = [
            -2.5, -1.5, -0.5, -0.49999997, 0, 0.49999997, 0.5, 0.50000006, 1.5, 2.5, 3.5, 100, -100,
        ]
        #expect(codes(table.kernels, w, 1, 4) == [-2, -2, 0, 0, 0, 0, 0, 1, 2, 2, 4, 4, -4])
        #expect(codes(table.kernels, w, 1, 1, low: -2) == [-2, -2, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, -2])
        #expect(codes(table.kernels, w, 1, 1) == [-1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, -1])
        #expect(codes(table.kernels, w.map { $0 * 0.25 }, 0.25, 4) == codes(table.kernels, w, 1, 4))
    }

    @Test("a dead zone moves every threshold away from 0", arguments: KernelTable.available)
    func deadZone(table: KernelTable) {
        // Thresholds at 0.75, 1.75, ...
        let w: [Float] = [0.6, 0.74, 0.76, -0.74, -0.76, 1.7, 1.8, -1.8, 2.7, 2.8, 9, -0.1]
        #expect(codes(table.kernels, w, 1, 2, shrink: 0.25) == [0, 0, 1, 0, -1, 1, 2, -2, 2, 2, 2, 0])
        #expect(codes(table.kernels, w, 1, 1, shrink: 0.25) == [0, 0, 1, 0, -1, 1, 1, -1, 1, 1, 1, 0])
    }

    @Test(
        "codes are those of the quotient w/s for scales that are not powers of two",
        arguments: KernelTable.available)
    func quotients(table: KernelTable) {
        // (k + 1/2)·s rounded to Float32, and its neighbors, where multiplication with the reciprocal would fail.
        for scale in [Float(0.1), 0.3, 0.0123, 7.7] {
            let middles = (-130...130).map { (Float($0) + 0.5) * scale }
            let w = middles + middles.map(\.nextUp) + middles.map(\.nextDown)
            #expect(codes(table.kernels, w, scale, 128) == codes(reference, w, scale, 128))
        }
    }

    @Test("quantization agrees with the scalar reference", arguments: KernelTable.available, awkwardLengths)
    func lengths(table: KernelTable, n: Int) {
        let w = normal([n], stream: 1).values, g = normal([n], stream: 2).values
        for (low, q, shrink) in [
            (-1, 1, 0), (-2, 2, 0), (-4, 4, 0), (-128, 128, 0), (-2, 1, 0), (-1, 0, 0), (-1, 1, 0.3), (-4, 4, 0.1),
        ] as [(Float, Float, Float)] {
            let scale = -1.7 / low
            let expected = codes(reference, w, scale, q, low: low, shrink: shrink)
            #expect(codes(table.kernels, w, scale, q, low: low, shrink: shrink) == expected)
            expectClose(
                floats(n) { table.kernels.dequantize(expected, scale, $0, n) },
                floats(n) { reference.dequantize(expected, scale, $0, n) }, .exact, "dequantize")
            let fake = floats(n) { reference.fake_quantize(w, scale, low, q, shrink, $0, n) }
            expectClose(
                floats(n) { table.kernels.fake_quantize(w, scale, low, q, shrink, $0, n) }, fake, .exact, "fake")
            #expect(fake == floats(n) { reference.dequantize(expected, scale, $0, n) })

            var shareOfScale: (Float, Float) = (0, 0)
            let gw = output(g, guarded: 777) {
                shareOfScale.0 = table.kernels.fake_quantize_grad(w, scale, low, q, shrink, $0, n)
            }
            let expectedGW = output(g, guarded: 777) {
                shareOfScale.1 = reference.fake_quantize_grad(w, scale, low, q, shrink, $0, n)
            }
            expectClose(gw, expectedGW, .exact, "gw")
            // Terms are g·(code − v): at most half a step inside, with an error of u·q in v; codes up to -low outside.
            let magnitude = g.reduce(0) { $0 + abs(Double($1)) } * Double(-low)
            expectClose(
                [shareOfScale.0], [shareOfScale.1], .float32Reduction(n: n, magnitude: magnitude),
                "scale gradient")

            var (wq, qq, expectedWQ, expectedQQ) = (0.0, 0.0, 0.0, 0.0)
            table.kernels.quantize_products(w, scale, low, q, shrink, &wq, &qq, n)
            reference.quantize_products(w, scale, low, q, shrink, &expectedWQ, &expectedQQ, n)
            expectClose([Float(wq)], [expectedWQ], .float32Reduction(n: n, magnitude: expectedWQ), "wq")
            expectClose([Float(qq)], [expectedQQ], .float32Reduction(n: n, magnitude: expectedQQ), "qq")
        }
    }

    @Test(
        "the straight-through gradient is 0 from the ends of the grid on",
        arguments: KernelTable.available)
    func clipping(table: KernelTable) {
        let w: [Float] = [-2, -1, -0.99999994, -0.3, 0.99999994, 1, 5]
        let g = [Float](repeating: 1, count: w.count)
        var total: Float = 0
        let gw = output(g, guarded: 777) { total = table.kernels.fake_quantize_grad(w, 1, -1, 1, 0, $0, w.count) }
        #expect(gw == [0, 0, 1, 1, 1, 0, 0])
        // Outside and at the ends: -1 - 1 + 1 + 1; inside: -u + (0 + 0.3) + u.
        expectClose([total], [0.3], .roundings(4))
    }
}
