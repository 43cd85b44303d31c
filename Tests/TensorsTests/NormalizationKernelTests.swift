// SPDX-License-Identifier: Apache-2.0
// Normalization kernels of every table against the scalar reference, over awkward lengths.

import CKernels
import TestKit
import Testing

@testable import Tensors

@Suite struct NormalizationKernelTests {
    @Test(
        "group normalization and its gradient agree with the scalar reference", arguments: KernelTable.available,
        awkwardLengths)
    func groups(table: KernelTable, inner: Int) {
        guard inner > 0 else { return }
        for (channels, hasParameters, silu) in [
            (1, true, false), (3, true, true), (2, false, false), (3, false, true),
        ] {
            let n = channels * inner
            let x = (normal([n], stream: 1) + 0.5).values, g = normal([n], stream: 2).values
            let weight = (normal([channels], stream: 3) + 1).values,
                bias = normal([channels], stream: 4).values
            func run(_ kernels: bf_kernel_table, mean: Float? = nil, rstd: Float? = nil) -> [[Float]] {
                var statistics: (Float, Float) = (0, 0)
                let out = floats(n) {
                    kernels.group_norm(
                        x, hasParameters ? weight : nil, hasParameters ? bias : nil, $0, channels, inner,
                        1e-5, silu,
                        &statistics.0, &statistics.1)
                }
                var gbias = [Float](repeating: 0, count: channels)
                var gx: [Float] = []
                let gweight = floats(channels) { gweight in
                    gx = floats(n) {
                        kernels.group_norm_grad(
                            x, g, hasParameters ? weight : nil, hasParameters ? bias : nil,
                            mean ?? statistics.0,
                            rstd ?? statistics.1, silu, $0, gweight, &gbias, channels, inner)
                    }
                }
                return [out, [statistics.0, statistics.1], gx, gweight, gbias]
            }
            let expected = run(reference)
            // Both gradients use the statistics of the reference, because a small variance amplifies their error.
            let got = run(table.kernels, mean: expected[1][0], rstd: expected[1][1])
            let rstd = Double(expected[1][1])
            let label = "\(channels)x\(inner) parameters \(hasParameters) silu \(silu)"
            expectClose(got[0], expected[0], .normalized.scaled(by: rstd), label)
            expectClose(got[1], expected[1], .roundings(16, absolute: 1e-6), label + " statistics")
            let size = Double(n).squareRoot()
            expectClose(got[2], expected[2], .normalizedGradient.scaled(by: rstd * rstd), label + " gx")
            expectClose(got[3], expected[3], .normalizedGradient.scaled(by: rstd * size), label + " gweight")
            expectClose(got[4], expected[4], .normalizedGradient.scaled(by: size), label + " gbias")
        }
    }

    @Test(
        "layer normalization and its gradient agree with the scalar reference", arguments: KernelTable.available,
        awkwardLengths)
    func layers(table: KernelTable, d: Int) {
        guard d > 1 else { return }
        let rows = 3
        let x = (normal([rows * d], stream: 1) + 0.5).values, g = normal([rows * d], stream: 2).values
        let weight = (normal([d], stream: 3) + 1).values, bias = normal([d], stream: 4).values
        for (hasWeight, hasBias) in [(true, true), (true, false), (false, true), (false, false)] {
            var mean = [Float](repeating: 0, count: rows), rstd = mean
            func forward(_ kernels: bf_kernel_table) -> [Float] {
                floats(rows * d) {
                    kernels.layer_norm(
                        x, hasWeight ? weight : nil, hasBias ? bias : nil, $0, rows, d, 1e-5, &mean, &rstd)
                }
            }
            let got = forward(table.kernels)
            let expected = forward(reference)
            let amplification = rstd.reduce(1) { max($0, Double($1)) }
            expectClose(got, expected, .normalized.scaled(by: amplification), "\(hasWeight) \(hasBias)")
            func backward(_ kernels: bf_kernel_table) -> [[Float]] {
                var gx: [Float] = [], gbias: [Float] = []
                let gweight = floats(d, from: weight) { gweight in
                    gbias = floats(d, from: bias) { gbias in
                        gx = floats(rows * d) {
                            kernels.layer_norm_grad(
                                x, g, hasWeight ? weight : nil, mean, rstd, $0, hasWeight ? gweight : nil,
                                hasBias ? gbias : nil, rows, d)
                        }
                    }
                }
                return [gx, gweight, gbias]
            }
            let limit = Tolerance.normalizedGradient.scaled(by: amplification * amplification)
            for (vector, scalar) in zip(backward(table.kernels), backward(reference)) {
                expectClose(vector, scalar, limit, "gradient \(hasWeight) \(hasBias)")
            }
        }
    }

    @Test("softmax and its gradient agree with the scalar reference", arguments: KernelTable.available, awkwardLengths)
    func softmax(table: KernelTable, d: Int) {
        let rows = 3
        let x = (normal([rows * d], stream: 1) * 5).values, g = normal([rows * d], stream: 2).values
        let expected = floats(rows * d) { reference.softmax(x, $0, rows, d) }
        // exp (6u plus the rounding of x - max, up to 40u·1/2), the sum and the quotient.
        let limit = Tolerance.roundings(64, absolute: 1e-30)
        expectClose(floats(rows * d) { table.kernels.softmax(x, $0, rows, d) }, expected, limit, "softmax")
        expectClose(
            floats(rows * d) { table.kernels.softmax_grad(expected, g, $0, rows, d) },
            floats(rows * d) { reference.softmax_grad(expected, g, $0, rows, d) },
            Tolerance(absolute: 2e-6, relative: 8 * Tolerance.unitRoundoff), "softmax gradient")
        let extreme = floats(3) { table.kernels.softmax([-.infinity, 1000, 1000], $0, 1, 3) }
        #expect(extreme == [0, 0.5, 0.5])
    }

    @Test("gradients can be computed in place", arguments: KernelTable.available)
    func inPlace(table: KernelTable) {
        let (rows, d) = (3, 67)
        let x = normal([rows * d], stream: 1).values, g = normal([rows * d], stream: 2).values
        let weight = normal([d], stream: 3).values, mean: [Float] = [0.1, -0.2, 0.3],
            rstd: [Float] = [1, 2, 3]
        func both(_ run: (UnsafePointer<Float>, UnsafeMutablePointer<Float>) -> Void) -> Bool {
            floats(rows * d) { run(g, $0) } == floats(rows * d, from: g) { run($0, $0) }
        }
        for silu in [true, false] {
            var gweight = [Float](repeating: 0, count: rows), gbias = gweight
            #expect(
                both {
                    table.kernels.group_norm_grad(
                        x, $0, weight, weight, 0.1, 0.9, silu, $1, &gweight, &gbias, rows, d)
                })
        }
        var gweight = weight, gbias = weight
        #expect(
            both { table.kernels.layer_norm_grad(x, $0, weight, mean, rstd, $1, &gweight, &gbias, rows, d) })
        #expect(both { table.kernels.softmax_grad(x, $0, $1, rows, d) })
    }
}

extension Tolerance {
    /// The same for numbers `factor` (at least 1) times as large: the absolute part grows.
    func scaled(by factor: Double) -> Tolerance {
        Tolerance(absolute: absolute * max(factor, 1), relative: relative)
    }
}
