// SPDX-License-Identifier: Apache-2.0
// 3x3 convolutions by every algorithm, on several threads, with gradients, against sums in Double.
// B images, IC/OC channels, H W space.

import CKernels
import TestKit
import Testing

@testable import Tensors

/// Convolution with padding 1 by definition, in Double. B images, IC to OC channels.
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

/// One shape computed by one algorithm.
struct AlgorithmCase: Sendable, CustomTestStringConvertible {
    let shape: [Int]
    let algorithm: ConvolutionAlgorithm
    var testDescription: String { "\(shape) by \(algorithm)" }
}

@Suite struct ConvolutionTests {
    /// B, IC, OC, H, W: fewer and more images than threads; channels that are not a multiple of a block; odd sizes;
    /// tiles that cross rows and images; more tiles than a block has.
    private static let shapes: [[Int]] = [
        [1, 3, 5, 7, 16], [5, 4, 13, 3, 16], [2, 2, 25, 5, 32], [3, 1, 3, 1, 48], [1, 6, 7, 9, 24],
        [7, 5, 6, 8, 8], [2, 33, 17, 4, 5], [1, 1, 1, 1, 1], [1, 3, 2, 67, 70], [40, 2, 3, 9, 10],
    ]
    private static let algorithms: [ConvolutionAlgorithm] = [.columns, .winograd(2), .winograd(4)]
    private static let cases = shapes.flatMap { shape in
        algorithms.map { AlgorithmCase(shape: shape, algorithm: $0) }
    }

    /// Sums of n products of magnitude m, times the error amplification of Winograd's transforms.
    private func tolerance(_ n: Int, _ magnitude: Double, _ algorithm: ConvolutionAlgorithm) -> Tolerance {
        let factor: Double = algorithm == .winograd(4) ? 24 : algorithm == .winograd(2) ? 4 : 1
        return .float32Reduction(n: n, magnitude: magnitude * factor)
    }

    @Test("convolution, added terms and all gradients agree with the definition", arguments: cases)
    func definition(of one: AlgorithmCase) {
        let shape = one.shape
        let naive = NaiveConvolution(
            batch: shape[0], inputs: shape[1], outputs: shape[2], height: shape[3], width: shape[4])
        let x = Parameter("x", normal([naive.batch, naive.inputs, naive.height, naive.width], stream: 1))
        let w = Parameter("w", normal([naive.outputs, naive.inputs, 3, 3], stream: 2))
        let bias = Parameter("bias", normal([naive.outputs], stream: 3))
        let channelBias = Parameter("channelBias", normal([naive.batch, naive.outputs], stream: 5))
        let residual = Parameter(
            "residual", normal([naive.batch, naive.outputs, naive.height, naive.width], stream: 6))
        ConvolutionAlgorithm.$forced.withValue(one.algorithm) {
            let y = conv2d(
                x.tensor(), weight: w.tensor(), bias: bias.tensor(), padding: Padding(1),
                channelBias: channelBias.tensor(), residual: residual.tensor())
            let plane = naive.height * naive.width
            let expected = naive.output(x.value.values, w.value.values, bias: bias.value.values).enumerated()
                .map { $1 + Double(channelBias.value[$0 / plane]) + Double(residual.value[$0]) }
            // Terms have mean magnitude 2/π; the bound uses twice that.
            expectClose(
                y.values, expected,
                tolerance(naive.inputs * 9 + 2, Double(naive.inputs) * 12 + 4, one.algorithm), "output")
            let g = normal(y.shape, stream: 4)
            y.backward(g)
            let (ofX, ofW) = naive.gradients(g.values, x.value.values, w.value.values)
            expectClose(
                x.gradient?.values ?? [], ofX,
                tolerance(naive.outputs * 9, Double(naive.outputs) * 12, one.algorithm), "x")
            let count = naive.batch * plane
            expectClose(
                w.gradient?.values ?? [], ofW, tolerance(count, Double(count) * 1.3 + 8, one.algorithm), "w")
            let ofImages = (0..<naive.batch * naive.outputs).map { row in
                g.values[row * plane..<(row + 1) * plane].reduce(0.0) { $0 + Double($1) }
            }
            let sums = Tolerance.float32Reduction(n: count, magnitude: Double(count) * 1.3)
            expectClose(channelBias.gradient?.values ?? [], ofImages, sums, "image bias")
            let ofBias = (0..<naive.outputs).map { channel in
                stride(from: channel, to: ofImages.count, by: naive.outputs).reduce(0.0) { $0 + ofImages[$1] }
            }
            expectClose(bias.gradient?.values ?? [], ofBias, sums, "bias")
            #expect(residual.gradient?.values == g.values)
        }
    }

    @Test("results have the same bits for any number of threads", arguments: algorithms)
    func threads(algorithm: ConvolutionAlgorithm) {
        let (before, x) = (Threads.count, Parameter("x", normal([3, 20, 18, 22], stream: 1)))
        let w = Parameter("w", normal([30, 20, 3, 3], stream: 2))
        defer { Threads.count = before }
        func run(_ threads: Int) -> [[Float]] {
            Threads.count = threads
            return ConvolutionAlgorithm.$forced.withValue(algorithm) {
                (x.gradient, w.gradient) = (nil, nil)
                let y = conv2d(x.tensor(), weight: w.tensor(), bias: nil, padding: 1)
                y.backward(normal(y.shape, stream: 3))
                return [y.values, x.gradient?.values ?? [], w.gradient?.values ?? []]
            }
        }
        #expect(run(1) == run(3))
        #expect(run(2) == run(7))
        #expect(run(1) == run(2))
    }

    @Test("one channel bias for all images, and an empty batch")
    func broadcastAndEmpty() {
        let x = normal([2, 3, 6, 6], stream: 1), w = normal([4, 3, 3, 3], stream: 2)
        let shared = Parameter("shared", normal([1, 4], stream: 3))
        let y = conv2d(x, weight: w, bias: nil, padding: Padding(1), channelBias: shared.tensor())
        let plain = conv2d(x, weight: w, bias: nil, padding: 1)
        expectClose(
            y.values, (plain + shared.value.reshaped([1, 4, 1, 1])).values.map(Double.init),
            .float32Reduction(n: 29, magnitude: 27), "one bias")
        y.backward(.ones(y.shape))
        #expect(shared.gradient?.values == [72, 72, 72, 72])
        let none = conv2d(.zeros([0, 3, 6, 6]), weight: w, bias: nil, padding: 1)
        #expect(none.shape == [0, 4, 6, 6])
    }

    @Test("with Winograd off, columns are selected for every shape")
    func winogradOff() {
        let wasOn = ConvolutionAlgorithm.usesWinograd
        defer { ConvolutionAlgorithm.usesWinograd = wasOn }
        func chosen() -> ConvolutionAlgorithm {
            .selected(
                x: [1, 320, 64, 64], weight: [320, 320, 3, 3], padding: Padding(1), isWeightCached: true)
        }
        ConvolutionAlgorithm.usesWinograd = true
        #expect(chosen() != .columns)
        ConvolutionAlgorithm.usesWinograd = false
        #expect(chosen() == .columns)
    }

    @Test("the cached transform of a frozen weight is dropped when the weight changes")
    func keptForms() {
        let x = normal([1, 8, 16, 16], stream: 1)
        let weight = Parameter("w", normal([8, 8, 3, 3], stream: 2), isTrainable: false)
        ConvolutionAlgorithm.$forced.withValue(.winograd(4)) {
            let first = conv2d(x, weight: weight.tensor(), bias: nil, padding: 1)
            #expect(PanelCache.memoryInUse > 0)
            #expect(conv2d(x, weight: weight.tensor(), bias: nil, padding: 1).values == first.values)
            weight.value.withUnsafeMutableBufferPointer { for i in $0.indices { $0[i] *= 2 } }
            let second = conv2d(x, weight: weight.tensor(), bias: nil, padding: 1)
            expectClose(
                second.values, first.values.map { 2 * Double($0) }, .winogradTransform,
                "doubled weight")
            weight.value = .zeros(weight.shape)
            #expect(conv2d(x, weight: weight.tensor(), bias: nil, padding: 1).values.allSatisfy { $0 == 0 })
        }
    }

    @Test("an empty batch gives a zero gradient", arguments: [nil, ConvolutionAlgorithm.winograd(4)])
    func emptyBatch(algorithm: ConvolutionAlgorithm?) {
        // The next block from the pool is not zero.
        for _ in 0..<4 { _ = Tensor.full([24, 8, 3, 3], 7) * 2 }
        let weight = Parameter("w", normal([24, 8, 3, 3], stream: 1))
        ConvolutionAlgorithm.$forced.withValue(algorithm) {
            let output = conv2d(.zeros([0, 8, 16, 16]), weight: weight.tensor(), bias: nil, padding: 1)
            output.sum().backward()
        }
        #expect(weight.gradient?.values == [Float](repeating: 0, count: 24 * 8 * 9))
    }

    @Test("negative padding crops the input, for every algorithm")
    func negativePadding() {
        let (x, weight) = (normal([1, 8, 12, 12], stream: 1), normal([9, 8, 3, 3], stream: 2))
        let cut = x.sliced(axis: 2, 1..<12).sliced(axis: 3, 2..<12)
        let want = conv2d(cut, weight: weight, bias: nil, padding: Padding(0))
        ConvolutionAlgorithm.$forced.withValue(.winograd(2)) {
            let got = conv2d(
                x, weight: weight, bias: nil, padding: Padding(top: -1, left: -2, bottom: 0, right: 0))
            #expect(got.shape == want.shape)
            expectClose(got, want, .winogradTransform)
        }
    }
}
