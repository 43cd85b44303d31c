// SPDX-License-Identifier: Apache-2.0
// The direct path of 3x3 convolutions as operations use it: cut over threads, with gradients, against sums in Double.
// B images, IC/OC channels, H W space.

import CKernels
import TestSupport
import Testing

@testable import Tensors

/// Convolution with padding 1 by its definition, in Double. B images, IC to OC channels.
private struct NaiveConvolution {
    let (batch, inputs, outputs, height, width): (Int, Int, Int, Int, Int)

    /// Calls `body` with the flat indices of output, input and weight of every product.
    private func forEachProduct(_ body: (_ y: Int, _ x: Int, _ w: Int) -> Void) {
        for b in 0..<batch {
            for o in 0..<outputs {
                for i in 0..<inputs {
                    for row in 0..<height {
                        for column in 0..<width {
                            for tap in 0..<9 {
                                let (y, x) = (row + tap / 3 - 1, column + tap % 3 - 1)
                                guard (0..<height).contains(y), (0..<width).contains(x) else { continue }
                                body(
                                    ((b * outputs + o) * height + row) * width + column,
                                    ((b * inputs + i) * height + y) * width + x, (o * inputs + i) * 9 + tap)
                            }
                        }
                    }
                }
            }
        }
    }

    func output(_ x: [Float], _ w: [Float], bias: [Float]) -> [Double] {
        var result = (0..<batch * outputs * height * width).map {
            Double(bias[$0 / (height * width) % outputs])
        }
        forEachProduct { result[$0] += Double(x[$1]) * Double(w[$2]) }
        return result
    }

    func gradients(_ g: [Float], _ x: [Float], _ w: [Float]) -> (x: [Double], w: [Double]) {
        var ofX = [Double](repeating: 0, count: x.count), ofW = [Double](repeating: 0, count: w.count)
        forEachProduct {
            ofX[$1] += Double(g[$0]) * Double(w[$2])
            ofW[$2] += Double(g[$0]) * Double(x[$1])
        }
        return (ofX, ofW)
    }
}

@Suite struct DirectConvolutionTests {
    /// Fewer images than threads, and more; channels that fill no block; odd heights.
    private static let shapes: [[Int]] = [
        [1, 3, 5, 7, 16], [5, 4, 13, 3, 16], [2, 2, 25, 5, 32], [3, 1, 3, 1, 48], [1, 6, 7, 9, 24],
    ]

    @Test("convolution and both gradients are those of the definition", arguments: shapes)
    func definition(shape: [Int]) {
        let naive = NaiveConvolution(
            batch: shape[0], inputs: shape[1], outputs: shape[2], height: shape[3], width: shape[4])
        #expect(
            DirectConvolution.suits(inputs: naive.inputs, outputs: naive.outputs, width: naive.width),
            "the direct path takes \(shape)")
        let x = Parameter("x", normal([naive.batch, naive.inputs, naive.height, naive.width], stream: 1))
        let w = Parameter("w", normal([naive.outputs, naive.inputs, 3, 3], stream: 2))
        let bias = Parameter("bias", normal([naive.outputs], stream: 3))
        let y = conv2d(x.tensor(), weight: w.tensor(), bias: bias.tensor(), stride: 1, padding: 1)
        let expected = naive.output(x.value.values, w.value.values, bias: bias.value.values)
        // Terms have mean magnitude 2/π; twice that bounds their sum's.
        let forward = Tolerance.float32Reduction(n: naive.inputs * 9, magnitude: Double(naive.inputs) * 12)
        expectClose(y.values, expected, forward, "output of \(shape)")
        let g = normal(y.shape, stream: 4)
        y.backward(g)
        let (ofX, ofW) = naive.gradients(g.values, x.value.values, w.value.values)
        expectClose(
            x.gradient?.values ?? [], ofX,
            .float32Reduction(n: naive.outputs * 9, magnitude: Double(naive.outputs) * 12), "x of \(shape)")
        let count = naive.batch * naive.height * naive.width
        expectClose(
            w.gradient?.values ?? [], ofW, .float32Reduction(n: count, magnitude: Double(count) * 1.3),
            "w of \(shape)")
        let sums = (0..<naive.outputs).map { channel in
            (0..<naive.batch).reduce(0.0) { total, image in
                let plane = naive.height * naive.width, at = (image * naive.outputs + channel) * plane
                return g.values[at..<at + plane].reduce(total) { $0 + Double($1) }
            }
        }
        expectClose(
            bias.gradient?.values ?? [], sums, .float32Reduction(n: count, magnitude: Double(count) * 1.3),
            "bias of \(shape)")
    }

    @Test("one output channel fewer than a register block takes the column matrix for the weight's gradient")
    func fewChannels() {
        let width = 2 * kernels.vector_width
        let fewest = DirectConvolution(
            batch: 1, inputs: 1, outputs: kernels.conv_grad_block, height: 2, width: width)
        #expect(fewest.hasWeightGradient)
        #expect(
            !DirectConvolution(
                batch: 1, inputs: 1, outputs: kernels.conv_grad_block - 1, height: 2, width: width
            ).hasWeightGradient)
        #expect(
            !DirectConvolution(
                batch: 1, inputs: 1, outputs: kernels.conv_grad_block, height: 2, width: width + 1
            ).hasWeightGradient)
    }
}
