// SPDX-License-Identifier: Apache-2.0
// Gradients of arithmetic, layout, reductions and losses against central differences.

import TestKit
import Testing

@testable import Tensors

/// Pairs of shapes for each kind of NumPy broadcasting.
let broadcastPairs: [[[Int]]] = [
    [[2, 3], [2, 3]], [[2, 3], [3]], [[2, 3], [1]], [[2, 3], []], [[3], [2, 3]], [[2, 1], [1, 3]],
    [[2, 3, 4], [2, 1, 4]], [[2, 3, 4], [3, 1]], [[1, 3, 1, 1], [2, 3, 4, 5]],
    [[2, 3, 4, 5], [2, 3, 1, 1]],
    [[2, 3, 1, 5], [3, 4, 1]], [[1], [1, 1]], [[5, 1, 1], [1, 1, 7]],
]

@Suite(.tags(.gradient)) struct ArithmeticGradientTests {
    @Test("+ - * / have correct gradientss under broadcasting", arguments: broadcastPairs)
    func broadcasting(_ shapes: [[Int]]) {
        let (a, b) = (normal(shapes[0], stream: 1), uniform(shapes[1], 1, 2, stream: 2))
        checkGradients([a, b], "add") { $0[0] + $0[1] }
        checkGradients([a, b], "subtract") { $0[0] - $0[1] }
        checkGradients([a, b], "multiply") { $0[0] * $0[1] }
        checkGradients([a, b], "divide") { $0[0] / $0[1] }
        checkGradients([b, a], "subtract, sides exchanged") { $0[1] - $0[0] }
    }

    @Test("arithmetic with a number has a correct gradient")
    func scalars() {
        let x = uniform([3, 5], 1, 2)
        checkGradients([x], "x + 2") { $0[0] + 2 }
        checkGradients([x], "2 + x") { 2 + $0[0] }
        checkGradients([x], "x - 2") { $0[0] - 2 }
        checkGradients([x], "2 - x") { 2 - $0[0] }
        checkGradients([x], "x * 3") { $0[0] * 3 }
        checkGradients([x], "3 * x") { 3 * $0[0] }
        checkGradients([x], "x / 3") { $0[0] / 3 }
        checkGradients([x], "3 / x") { 3 / $0[0] }
        checkGradients([x], "-x") { -$0[0] }
    }

    @Test("expanding has a correct gradient")
    func expanding() {
        checkGradients([normal([3, 1])]) { $0[0].expanded([2, 3, 4]) }
        checkGradients([normal([])]) { $0[0].expanded([2, 3]) }
    }

    @Test("moving elements has a correct gradient")
    func layout() {
        let x = normal([2, 3, 4, 5])
        checkGradients([x], "reshape") { $0[0].reshaped([6, -1]) }
        for axes in [
            [0, 1, 2, 3], [0, 2, 1, 3], [3, 2, 1, 0], [1, 0, 3, 2], [0, 3, 1, 2], [2, 3, 0, 1],
        ] {
            checkGradients([x], "permute \(axes)") { $0[0].permuted(axes) }
        }
        checkGradients([x], "transpose") { $0[0].transposed(-1, 1) }
        for axis in 0..<4 {
            checkGradients([x], "slice \(axis)") { $0[0].sliced(axis: axis, 1..<2) }
            let y = normal([2, 3, 4, 5], stream: 3).sliced(axis: axis, 0..<2)
            checkGradients([x, y], "concatenate \(axis)") { .concatenated($0, axis: axis) }
        }
        checkGradients([normal([17, 33])], "large transpose") { $0[0].transposed(0, 1) }
    }

    @Test("resizing has a correct gradient")
    func resizing() {
        let x = normal([2, 2, 3, 5])
        checkGradients([x], "2x") { $0[0].upsampledNearest2x() }
        checkGradients([x], "odd") { $0[0].upsampledNearest(toHeight: 5, width: 9) }
    }

    @Test("sums and means have correct gradients")
    func reductions() {
        let x = normal([2, 3, 4, 5])
        checkGradients([x], "sum") { $0[0].sum() }
        checkGradients([x], "mean") { $0[0].mean() }
        for axes in [[0], [1], [3], [0, 1], [2, 3], [0, 2, 3], [1, 3], [0, 3], [0, 1, 2, 3], [-1], []] {
            for keep in [false, true] {
                checkGradients([x], "sum \(axes) \(keep)") { $0[0].sum(axes: axes, keepDims: keep) }
                checkGradients([x], "mean \(axes) \(keep)") { $0[0].mean(axes: axes, keepDims: keep) }
            }
        }
    }

    @Test("losses have correct gradients for both arguments")
    func losses() {
        checkGradients([normal([3, 7]), normal([3, 7], stream: 1)]) { meanSquaredError($0[0], $0[1]) }
        let labels: [Int32] = [2, 0, 6, 2]
        checkGradients([normal([4, 7])]) { crossEntropy($0[0], labels: labels) }
    }

    @Test("an embedding sums the gradients of repeated ids")
    func embeddings() {
        let ids: [Int32] = [4, 1, 1, 0, 4, 4]
        checkGradients([normal([5, 3])]) { embedding(ids, shape: [2, 3], weight: $0[0]) }
    }
}
