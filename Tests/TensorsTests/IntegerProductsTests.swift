// SPDX-License-Identifier: Apache-2.0
// Linear layers and convolutions with low-bit codes: against plain sums over the quantized inputs, for all shapes of a
// UNet, and the same bits for any number of threads.

import TestKit
import Testing

@testable import Tensors

@Suite(.serialized) struct IntegerProductsTests {
    /// A weight of random codes, and the same weight in Double.
    private struct Sample {
        let weight: IntegerWeight
        let codes: [UInt8]
        let values: [Double]

        init(_ shape: [Int], levels: Int, stream: UInt64) {
            let count = shape.reduce(1, *)
            let draws = uniform([count], 0, Float(levels), stream: stream).values
            codes = draws.map { UInt8(min(Int($0), levels - 1)) }
            let scales = uniform([shape[0]], 0.01, 0.1, stream: stream + 1)
            weight = IntegerWeight(
                IntegerMatrix(codes, levels: levels, shape: shape), scales: scales)
            let perRow = max(count / shape[0], 1)
            values = codes.enumerated().map { index, code in
                Double(scales.values[index / perRow]) * Double(Int(code) - (levels - 1) / 2)
            }
        }
    }

    /// Tokens or pixels quantized to int8: 127 steps up to the largest magnitude of each.
    private func rounded(_ x: [Float]) -> [Double] {
        let largest = x.reduce(0) { max($0, abs($1)) }
        guard largest > 0 else { return x.map { _ in 0 } }
        return x.map { Double(($0 * (127 / largest)).rounded(.toNearestOrEven)) * Double(largest / 127) }
    }

    @Test(
        "a linear layer is the sum over quantized tokens",
        arguments: [3, 5, 9, 17, 129, 255], [[1, 7, 5], [3, 64, 40], [30, 96, 33], [130, 20, 64]])
    func linearSums(levels: Int, sizes: [Int]) {
        let (rows, inputs, outputs) = (sizes[0], sizes[1], sizes[2])
        let sample = Sample([outputs, inputs], levels: levels, stream: 1)
        let x = normal([rows, inputs], stream: 2)
        let (bias, residual) = (normal([outputs], stream: 3), normal([rows, outputs], stream: 4))
        var wanted: [Double] = []
        for row in 0..<rows {
            let token = rounded(Array(x.values[row * inputs..<(row + 1) * inputs]))
            for output in 0..<outputs {
                let sum = (0..<inputs).reduce(0.0) { $0 + token[$1] * sample.values[output * inputs + $1] }
                wanted.append(
                    sum + Double(bias.values[output]) + Double(residual.values[row * outputs + output]))
            }
        }
        let found = linear(x, weight: sample.weight, bias: bias, residual: residual)
        expectClose(found.values, wanted, .integerProduct, "linear \(sizes)")
        let plain = linear(x, weight: sample.weight, bias: nil)
        expectClose(
            (plain + bias + residual).values, wanted, .integerProduct,
            "plain \(sizes)")
    }

    struct Convolution: CustomTestStringConvertible {
        let x, weight: [Int]
        var stride = 1
        var padding = Padding(1)
        var testDescription: String { "\(x) * \(weight), stride \(stride), \(padding)" }
    }

    @Test(
        "a convolution is the sum over quantized pixels",
        arguments: [
            Convolution(x: [1, 5, 6, 7], weight: [4, 5, 3, 3]),
            Convolution(x: [2, 24, 9, 8], weight: [40, 24, 3, 3]),
            Convolution(x: [1, 17, 8, 8], weight: [33, 17, 3, 3], stride: 2),
            Convolution(
                x: [1, 8, 8, 8], weight: [16, 8, 3, 3], stride: 2,
                padding: Padding(top: 0, left: 0, bottom: 1, right: 1)),
            Convolution(x: [3, 12, 5, 4], weight: [20, 12, 1, 1], padding: Padding(0)),
            Convolution(x: [9, 6, 4, 4], weight: [8, 6, 3, 3]),
            Convolution(x: [1, 6, 7, 7], weight: [3, 6, 1, 1], stride: 2, padding: Padding(0)),
            Convolution(x: [1, 4, 3, 3], weight: [5, 4, 3, 3], padding: Padding(0)),
        ], [3, 9, 65, 255])
    func convolutionSums(_ shape: Convolution, levels: Int) {
        let sample = Sample(shape.weight, levels: levels, stream: 11)
        let x = normal(shape.x, stream: 12)
        let geometry = ConvolutionGeometry(
            shape.x, shape.weight, stride: shape.stride, padding: shape.padding)
        let bias = normal([shape.weight[0]], stream: 13)
        let channelBias = normal([shape.x[0], shape.weight[0]], stream: 14)
        let residual = normal(geometry.outputShape, stream: 15)
        let wanted = sums(shape, geometry, x, sample)
        let plain = conv2d(
            x, weight: sample.weight, bias: nil, stride: shape.stride, padding: shape.padding)
        expectClose(
            plain.values, wanted, .integerProduct, "\(shape.testDescription)")
        let complete = conv2d(
            x, weight: sample.weight, bias: bias, stride: shape.stride, padding: shape.padding,
            channelBias: channelBias, residual: residual)
        let (channels, plane) = (shape.weight[0], geometry.outputPlane)
        let ended = wanted.indices.map { index -> Double in
            let (image, channel) = (index / plane / channels, index / plane % channels)
            return wanted[index] + Double(bias.values[channel])
                + Double(channelBias.values[image * channels + channel]) + Double(residual.values[index])
        }
        expectClose(complete.values, ended, .integerProductWithEpilogue, "with epilogue")
    }

    /// The convolution in Double over quantized pixels.
    private func sums(
        _ shape: Convolution, _ geometry: ConvolutionGeometry, _ x: Tensor, _ sample: Sample
    ) -> [Double] {
        let (inputs, height, width) = (shape.x[1], shape.x[2], shape.x[3])
        let values = x.values
        var pixels = [Double](repeating: 0, count: values.count)
        for image in 0..<shape.x[0] {
            for pixel in 0..<height * width {
                let at = (0..<inputs).map { (image * inputs + $0) * height * width + pixel }
                for (index, value) in zip(at, rounded(at.map { values[$0] })) { pixels[index] = value }
            }
        }
        let (rows, columns) = (geometry.outputShape[2], geometry.outputShape[3])
        let (kh, kw) = (shape.weight[2], shape.weight[3])
        var found: [Double] = []
        for image in 0..<shape.x[0] {
            for output in 0..<shape.weight[0] {
                for pixel in 0..<rows * columns {
                    var sum = 0.0
                    for tap in 0..<inputs * kh * kw {
                        let (input, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw)
                        let y = pixel / columns * shape.stride + ky - shape.padding.top
                        let x = pixel % columns * shape.stride + kx - shape.padding.left
                        guard (0..<height).contains(y), (0..<width).contains(x) else { continue }
                        sum +=
                            sample.values[output * inputs * kh * kw + tap]
                            * pixels[((image * inputs + input) * height + y) * width + x]
                    }
                    found.append(sum)
                }
            }
        }
        return found
    }

    @Test("results are the same bits for any number of threads")
    func threads() {
        let before = Threads.count
        defer { Threads.count = before }
        let kernel = Sample([96, 40, 3, 3], levels: 3, stream: 21),
            matrix = Sample([200, 64], levels: 5, stream: 22)
        let wide = Sample([170, 40, 3, 3], levels: 3, stream: 25), small = normal([1, 40, 7, 7], stream: 26)
        let image = normal([1, 40, 20, 20], stream: 23), tokens = normal([300, 64], stream: 24)
        var seen: [[UInt32]] = []
        for count in [1, 2, 3] {
            Threads.count = count
            let outputs = [
                conv2d(image, weight: kernel.weight, bias: nil, padding: Padding(1)),
                linear(tokens, weight: matrix.weight, bias: nil),
                linear(tokens.sliced(axis: 0, 0..<2), weight: matrix.weight, bias: nil),
                // Few rows, which are divided by panels.
                linear(tokens.sliced(axis: 0, 0..<60), weight: matrix.weight, bias: nil),
                conv2d(small, weight: wide.weight, bias: nil, padding: Padding(1)),
            ]
            seen.append(outputs.flatMap { $0.values.map(\.bitPattern) })
        }
        #expect(seen[0] == seen[1] && seen[1] == seen[2])
    }

    @Test("codes and weights are recovered from panels", arguments: [3, 5, 9, 17, 33, 65, 129, 255])
    func panels(levels: Int) {
        for shape in [[5, 3, 3, 3], [40, 33], [1, 1], [33, 70, 1, 1], [64, 16, 3, 3]] {
            let sample = Sample(shape, levels: levels, stream: 31)
            #expect(sample.weight.matrix.codes() == sample.codes)
            let weight = sample.weight.matrix.weight(scales: sample.weight.scales)
            expectClose(weight.values, sample.values, Tolerance(absolute: 0, relative: 1e-6), "\(shape)")
            #expect(sample.weight.matrix.byteCount >= sample.codes.count * 2 / 8)
        }
        #expect(IntegerMatrix.supports(levels: 255, shape: [4, 4]))
        #expect(!IntegerMatrix.supports(levels: 257, shape: [4, 4]))
        #expect(!IntegerMatrix.supports(levels: 4, shape: [4, 4]))
    }

    @Test("a non-finite value affects only the outputs that depend on it")
    func notFinite() {
        let sample = Sample([6, 10], levels: 3, stream: 41)
        let sound = normal([3, 10], stream: 42)
        var values = sound.values
        values[14] = .nan
        let found = linear(Tensor(values, shape: [3, 10]), weight: sample.weight, bias: nil).values
        let complete = linear(sound, weight: sample.weight, bias: nil).values
        #expect(found[6..<12].allSatisfy { $0.isNaN })
        #expect(found[0..<6] == complete[0..<6] && found[12...] == complete[12...])
        #expect(linear(.zeros([2, 10]), weight: sample.weight, bias: nil).values.allSatisfy { $0 == 0 })
        #expect(linear(.zeros([0, 10]), weight: sample.weight, bias: nil).shape == [0, 6])
    }
}
