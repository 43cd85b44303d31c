// SPDX-License-Identifier: Apache-2.0
// Gradients of activations, normalizations, products and attention against central differences.

import TestKit
import Testing

@testable import Tensors

@Suite(.tags(.gradient)) struct ActivationGradientTests {
    @Test("activations have correct gradients")
    func activations() {
        let x = normal([5, 67]) * 2
        checkGradients([x], "silu") { $0[0].silu() }
        checkGradients([x], "gelu") { $0[0].gelu() }
        checkGradients([x], "quickGELU") { $0[0].quickGELU() }
        checkGradients([x], "mish") { $0[0].mish() }
        checkGradients([x], "exp") { $0[0].exp() }
        checkGradients([x], "square") { $0[0].square() }
        checkGradients([uniform([41], 1, 3)], "sqrt") { $0[0].sqrt() }
        // Away from the discontinuity of the slope at zero.
        let sign = Tensor((0..<40).map { $0 % 3 == 0 ? -1 : 1 }, shape: [40])
        checkGradients([uniform([40], 0.2, 2) * sign], "relu") { $0[0].relu() }
        checkGradients([normal([3, 2, 34])], "geglu") { $0[0].geglu() }
    }

    @Test("softmax and L2 normalization have correct gradients")
    func rows() {
        for width in [1, 3, 40] {
            checkGradients([normal([4, width])], "softmax \(width)") { $0[0].softmax() }
        }
        checkGradients([normal([4, 9])], "l2Normalized") { $0[0].l2Normalized() }
    }
}

@Suite(.tags(.gradient)) struct NormalizationGradientTests {
    @Test("group normalization has a correct gradient, with and without SiLU", arguments: [false, true])
    func groups(silu: Bool) {
        for (shape, groups) in [([2, 6, 3, 5], 3), ([1, 8, 1, 1], 2), ([2, 4], 1), ([3, 8, 7], 2)] {
            let channels = shape[1]
            checkGradients(
                [normal(shape), normal([channels], stream: 1) + 1, normal([channels], stream: 2)],
                "groupNorm \(shape)/\(groups)"
            ) { groupNorm($0[0], groups: groups, weight: $0[1], bias: $0[2], epsilon: 1e-5, silu: silu) }
        }
    }

    @Test("layer normalization has a correct gradient, with and without parameters")
    func layers() {
        let (x, weight, bias) = (normal([3, 5, 37]), normal([37], stream: 1) + 1, normal([37], stream: 2))
        checkGradients([x, weight, bias], "both") { layerNorm($0[0], weight: $0[1], bias: $0[2]) }
        checkGradients([x], "none") { layerNorm($0[0], weight: nil, bias: nil) }
        checkGradients([x, weight], "weight") { layerNorm($0[0], weight: $0[1], bias: nil) }
        checkGradients([x, bias], "bias") { layerNorm($0[0], weight: nil, bias: $0[1]) }
        checkGradients(
            [normal([2100, 17]), weight.sliced(axis: 0, 0..<17), bias.sliced(axis: 0, 0..<17)], "many rows"
        ) {
            layerNorm($0[0], weight: $0[1], bias: $0[2])
        }
    }
}

@Suite(.tags(.gradient)) struct ProductGradientTests {
    @Test("matmul has a correct gradient for every transposition and batch layout")
    func products() {
        for (transposeA, transposeB) in [(false, false), (true, false), (false, true), (true, true)] {
            for (lead, shared) in [
                ([Int](), false), ([3], false), ([2, 3], false), ([2, 3], true), ([2], true),
            ] {
                let a = normal(lead + (transposeA ? [5, 4] : [4, 5]), stream: 1)
                let b = normal((shared ? [] : lead) + (transposeB ? [6, 5] : [5, 6]), stream: 2)
                checkGradients([a, b], "matmul \(a.shape) \(transposeA) \(b.shape) \(transposeB)") {
                    matmul($0[0], $0[1], transposeA: transposeA, transposeB: transposeB)
                }
            }
        }
        checkGradients([normal([70, 65]), normal([65, 90], stream: 1)], "cut over threads") {
            matmul($0[0], $0[1])
        }
        checkGradients([normal([90, 65]), normal([65, 70], stream: 1)], "cut over threads") {
            matmul($0[0], $0[1])
        }
    }

    @Test("linear has a correct gradient with and without bias")
    func linears() {
        for lead in [[], [3], [2, 5]] {
            let (x, weight, bias) = (
                normal(lead + [7], stream: 1), normal([4, 7], stream: 2), normal([4], stream: 3)
            )
            checkGradients([x, weight, bias], "linear \(x.shape)") {
                linear($0[0], weight: $0[1], bias: $0[2])
            }
            checkGradients([x, weight], "linear \(x.shape), no bias") {
                linear($0[0], weight: $0[1], bias: nil)
            }
        }
    }

    @Test("attention has a correct gradient")
    func attention() {
        for (t, s, heads, width, causal) in [
            (3, 5, 1, 4, false), (5, 3, 2, 3, false), (70, 9, 2, 5, false), (4, 520, 1, 8, false),
            (67, 530, 2, 4, false), (7, 7, 2, 4, true), (130, 130, 1, 4, true), (530, 530, 1, 3, true),
        ] {
            checkGradients(
                [
                    normal([2, t, heads * width], stream: 1), normal([2, s, heads * width], stream: 2),
                    normal([2, s, heads * width], stream: 3),
                ], sampled: 10, "attention T \(t) S \(s) heads \(heads) width \(width) causal \(causal)"
            ) { scaledDotProductAttention($0[0], $0[1], $0[2], heads: heads, causal: causal) }
        }
        checkGradients(
            [normal([1, 4, 6]), normal([1, 4, 6], stream: 1), normal([1, 4, 6], stream: 2)], "own scale"
        ) {
            scaledDotProductAttention($0[0], $0[1], $0[2], heads: 3, scale: 0.3)
        }
    }
}

struct ConvolutionCase: Sendable, CustomTestStringConvertible {
    var batch, inputs, outputs, height, width, kernel: Int
    var stride = 1
    var padding: Padding

    var testDescription: String {
        "[\(batch), \(inputs), \(height), \(width)] -> \(outputs), kernel \(kernel), stride \(stride), \(padding)"
    }
}

let convolutionCases: [ConvolutionCase] = {
    var cases: [ConvolutionCase] = []
    for kernel in [1, 3, 5] {
        for stride in [1, 2] {
            for padding in [0, 1, 2] {
                cases.append(
                    ConvolutionCase(
                        batch: 2, inputs: 3, outputs: 5, height: 7, width: 9, kernel: kernel, stride: stride,
                        padding: Padding(padding)))
            }
            cases.append(
                ConvolutionCase(
                    batch: 1, inputs: 2, outputs: 3, height: 6, width: 8, kernel: kernel, stride: stride,
                    padding: Padding(top: 0, left: 0, bottom: 1, right: 1)))
            // Large planes, and a batch that does not divide into groups.
            cases.append(
                ConvolutionCase(
                    batch: 3, inputs: 5, outputs: 7, height: 25, width: 27, kernel: kernel, stride: stride,
                    padding: Padding(kernel / 2)))
            cases.append(
                ConvolutionCase(
                    batch: 19, inputs: 3, outputs: 2, height: 5, width: 4, kernel: kernel, stride: stride,
                    padding: Padding(kernel / 2)))
        }
    }
    cases.append(
        ConvolutionCase(
            batch: 1, inputs: 130, outputs: 3, height: 20, width: 21, kernel: 3, padding: Padding(1)))
    cases.append(
        ConvolutionCase(
            batch: 2, inputs: 3, outputs: 2, height: 5, width: 6, kernel: 3,
            padding: Padding(top: 3, left: 0, bottom: 1, right: 4)))
    return cases
}()

@Suite(.tags(.gradient)) struct ConvolutionGradientTests {
    @Test("conv2d has a correct gradient", arguments: convolutionCases)
    func convolution(_ geometry: ConvolutionCase) {
        let x = normal([geometry.batch, geometry.inputs, geometry.height, geometry.width], stream: 1)
        let weight = normal([geometry.outputs, geometry.inputs, geometry.kernel, geometry.kernel], stream: 2)
        let bias = normal([geometry.outputs], stream: 3)
        checkGradients([x, weight, bias], sampled: 12) {
            conv2d($0[0], weight: $0[1], bias: $0[2], stride: geometry.stride, padding: geometry.padding)
        }
        checkGradients([x, weight], sampled: 4, "no bias") {
            conv2d($0[0], weight: $0[1], bias: nil, stride: geometry.stride, padding: geometry.padding)
        }
    }
}
