// SPDX-License-Identifier: Apache-2.0
// Operations that move or sum elements, on shapes that are divided into parts, against plain loops.

import TestKit
import Testing

@testable import Tensors

@Suite struct LargeShapeTests {
    struct Order: Sendable, CustomTestStringConvertible {
        let shape: [Int], axes: [Int]
        var testDescription: String { "\(shape) by \(axes)" }
    }

    /// Pixels to tokens and back, heads first, reversals; lengths that are not multiples of a vector.
    static let orders = [
        Order(shape: [1, 48, 70, 41], axes: [0, 2, 3, 1]),
        Order(shape: [1, 70, 41, 48], axes: [0, 3, 1, 2]),
        Order(shape: [3, 24, 32, 32], axes: [0, 2, 3, 1]),
        Order(shape: [2, 300, 2, 19], axes: [0, 2, 1, 3]),
        Order(shape: [5, 1, 700, 33], axes: [3, 1, 2, 0]), Order(shape: [7, 9, 11, 13], axes: [3, 2, 1, 0]),
        Order(shape: [2, 3, 130, 130], axes: [1, 3, 0, 2]), Order(shape: [40_000, 3], axes: [1, 0]),
        Order(shape: [3, 40_000], axes: [1, 0]), Order(shape: [4, 5, 6], axes: [0, 1, 2]),
        Order(shape: [1, 1, 1], axes: [2, 0, 1]), Order(shape: [2, 0, 3], axes: [2, 1, 0]),
    ]

    @Test("permuting moves every element to its position", arguments: orders)
    func permuting(order: Order) {
        let x = arange(order.shape.reduce(1, *)).reshaped(order.shape)
        let got = x.permuted(order.axes)
        #expect(got.shape == order.axes.map { order.shape[$0] })
        var steps = [Int](repeating: 1, count: order.shape.count)
        for i in stride(from: steps.count - 2, through: 0, by: -1) {
            steps[i] = steps[i + 1] * order.shape[i + 1]
        }
        let values = got.values
        var wrong = 0
        for (flat, value) in values.enumerated() {
            var (rest, source) = (flat, 0)
            for (position, axis) in order.axes.enumerated().reversed() {
                source += rest % got.shape[position] * steps[axis]
                rest /= got.shape[position]
            }
            if value != Float(source) { wrong += 1 }
        }
        #expect(wrong == 0)
    }

    @Test(
        "sums of many rows agree with sums in double precision",
        arguments: [[0], [1], [2], [0, 1], [1, 2], [0, 2], [0, 1, 2]])
    func sums(axes: [Int]) {
        for shape in [[3, 700, 70], [1, 1200, 300], [2, 3, 40_000], [90_000, 1, 3]] {
            let x = normal(shape)
            var expected = [Double](
                repeating: 0, count: shape.indices.reduce(1) { axes.contains($1) ? $0 : $0 * shape[$1] })
            for (flat, value) in x.values.enumerated() {
                let index = [
                    flat / (shape[1] * shape[2]), flat / shape[2] % shape[1], flat % shape[2],
                ]
                let position = shape.indices.reduce(0) { axes.contains($1) ? $0 : $0 * shape[$1] + index[$1] }
                expected[position] += Double(value)
            }
            let terms = x.count / max(expected.count, 1)
            expectClose(
                x.sum(axes: axes).values, expected, .float32Reduction(n: 64, magnitude: Double(terms)),
                "\(shape) over \(axes)")
        }
    }

    @Test("the sum and the mean square of a million numbers agree with double precision")
    func totals() {
        let x = normal([1_000_003]), y = normal([1_000_003], stream: 1)
        let expected = x.values.reduce(0) { $0 + Double($1) }
        #expect(abs(Double(x.sum().item) - expected) < 0.01)
        let squares = zip(x.values, y.values).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
        expectClose(
            [meanSquaredError(x, y).item], [squares / Double(x.count)], .roundings(16), "mean square")
    }

    @Test("concatenated parts get their own gradients", arguments: 0..<3)
    func joining(axis: Int) {
        for shape in [[1, 50, 400], [4, 30, 200]] {
            var other = shape
            other[axis] += 3
            let parts = [Parameter("a", normal(shape)), Parameter("b", normal(other, stream: 1))]
            let joined = Tensor.concatenated(parts.map { $0.tensor() }, axis: axis)
            let gradient = normal(joined.shape, stream: 2)
            joined.backward(gradient)
            let cut = shape[axis]
            #expect(parts[0].gradient?.values == gradient.sliced(axis: axis, 0..<cut).values)
            #expect(
                parts[1].gradient?.values
                    == gradient.sliced(axis: axis, cut..<cut + other[axis]).values)
        }
    }

    @Test("accumulating into a gradient that shares memory with another tensor leaves that tensor unchanged")
    func sharedGradients() {
        let a = Parameter("a", normal([1, 5, 30])), b = Parameter("b", normal([1, 4, 30], stream: 1))
        let gradient = normal([1, 9, 30], stream: 2), kept = gradient.values
        for _ in 0..<2 {
            Tensor.concatenated([a.tensor(), b.tensor()], axis: 1).backward(gradient)
        }
        #expect(gradient.values == kept)
        #expect(a.gradient?.values == kept[..<150].map { $0 * 2 })
        #expect(b.gradient?.values == kept[150...].map { $0 * 2 })
    }
}
