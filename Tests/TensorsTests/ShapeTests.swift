// SPDX-License-Identifier: Apache-2.0
// Values of tensors and of operations that move elements, on small shapes; shape errors trap.

import TestKit
import Testing

@testable import Tensors

@Suite struct ShapeTests {
    let x = arange(24).reshaped([2, 3, 4])

    @Test("tensors know their shape and elements")
    func basics() {
        #expect(x.rank == 3 && x.count == 24 && x[23] == 23)
        #expect(Tensor(scalar: 5).shape == [] && Tensor(scalar: 5).item == 5)
        #expect(Tensor.zeros([2, 0]).count == 0 && Tensor.zeros([2, 0]).values == [])
        #expect(Tensor.full([2], 3).values == [3, 3] && Tensor.ones([1]).item == 1)
        #expect(x.isFinite && !Tensor([1, .nan], shape: [2]).isFinite)
    }

    @Test("reshaping infers one free axis")
    func reshaping() {
        #expect(x.reshaped([4, -1]).shape == [4, 6])
        #expect(x.reshaped([-1]).values == x.values)
    }

    @Test("permuting puts axis axes[i] at position i")
    func permuting() {
        let turned = x.permuted([2, 0, 1])
        #expect(turned.shape == [4, 2, 3])
        for i in 0..<4 {
            for j in 0..<2 {
                for k in 0..<3 { #expect(turned[(i * 2 + j) * 3 + k] == x[(j * 3 + k) * 4 + i]) }
            }
        }
        #expect(x.permuted([1, 0, 2]).values.prefix(8) == [0, 1, 2, 3, 12, 13, 14, 15])
    }

    @Test("concatenation is the inverse of slicing along every axis", arguments: 0..<3)
    func slicing(axis: Int) {
        let length = x.shape[axis]
        let parts = [x.sliced(axis: axis, 0..<1), x.sliced(axis: axis, 1..<length)]
        #expect(Tensor.concatenated(parts, axis: axis).values == x.values)
        #expect(x.sliced(axis: axis - 3, 1..<1).count == 0)
    }

    @Test("broadcasting follows NumPy")
    func broadcasting() {
        let row = arange(4), column = Tensor([10, 20, 30], shape: [3, 1])
        #expect((column + row).shape == [3, 4])
        #expect((column + row).values == [10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33])
        #expect((row - column).values.prefix(4) == [-10, -9, -8, -7])
        #expect(Tensor(scalar: 2).expanded([2, 2]).values == [2, 2, 2, 2])
        #expect(column.expanded([2, 3, 2]).values == [10, 10, 20, 20, 30, 30, 10, 10, 20, 20, 30, 30])
    }

    @Test(
        "sums over some axes keep the others",
        arguments: [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2], []])
    func sums(axes: [Int]) {
        var expected: [[Int]: Float] = [:]
        for i in 0..<2 {
            for j in 0..<3 {
                for k in 0..<4 {
                    let kept = [i, j, k].enumerated().filter { !axes.contains($0.offset) }.map(\.element)
                    expected[kept, default: 0] += x[(i * 3 + j) * 4 + k]
                }
            }
        }
        let sorted = expected.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.value)
        #expect(x.sum(axes: axes).values == sorted)
        #expect(
            x.sum(axes: axes, keepDims: true).shape == (0..<3).map { axes.contains($0) ? 1 : x.shape[$0] })
    }

    @Test("products with every transposition agree with the triple loop")
    func products() {
        let (m, k, n) = (3, 5, 4)
        let a = normal([2, m, k], stream: 1), b = normal([2, k, n], stream: 2)
        var expected = [Double](repeating: 0, count: 2 * m * n)
        for i in 0..<2 {
            for r in 0..<m {
                for c in 0..<n {
                    for l in 0..<k {
                        expected[(i * m + r) * n + c] +=
                            Double(a[(i * m + r) * k + l]) * Double(b[(i * k + l) * n + c])
                    }
                }
            }
        }
        let (at, bt) = (a.transposed(1, 2), b.transposed(1, 2))
        let limit = Tolerance.float32Reduction(n: k, magnitude: 20)
        expectClose(matmul(a, b).values, expected, limit)
        expectClose(matmul(at, b, transposeA: true).values, expected, limit)
        expectClose(matmul(a, bt, transposeB: true).values, expected, limit)
        expectClose(matmul(at, bt, transposeA: true, transposeB: true).values, expected, limit)
        let first = b.sliced(axis: 0, 0..<1).reshaped([k, n])
        expectClose(
            matmul(a, first).sliced(axis: 0, 1..<2),
            matmul(a.sliced(axis: 0, 1..<2).reshaped([m, k]), first).reshaped([1, m, n]),
            .exact)
    }

    @Test("an embedding picks rows")
    func embeddings() {
        let table = arange(6).reshaped([3, 2])
        let picked = embedding([2, 0, 2, 1], shape: [2, 2], weight: table)
        #expect(picked.shape == [2, 2, 2])
        #expect(picked.values == [4, 5, 0, 1, 4, 5, 2, 3])
    }

    @Test("losses agree with their definitions")
    func losses() {
        let a = Tensor([1, 2, 3], shape: [3]), b = Tensor([1, 4, 0], shape: [3])
        expectClose([meanSquaredError(a, b).item], [13.0 / 3], .roundings(2))
        let logits = Tensor([0, 0, 0, 0, 100, 0], shape: [2, 3])
        expectClose(
            [crossEntropy(logits, labels: [2, 1]).item], [0.5493061443], .roundings(4, absolute: 1e-7))
    }
}

@Suite struct ShapeTrapTests {
    @Test("a number of values that does not match the shape traps")
    func construction() async {
        await #expect(processExitsWith: .failure) { _ = Tensor([1, 2, 3], shape: [2]) }
    }

    @Test("operands that do not broadcast trap")
    func broadcast() async {
        await #expect(processExitsWith: .failure) { _ = Tensor.ones([2, 3]) + Tensor.ones([2]) }
    }

    @Test("inner dimensions that differ trap")
    func product() async {
        await #expect(processExitsWith: .failure) { _ = matmul(.ones([2, 3]), .ones([4, 5])) }
        await #expect(processExitsWith: .failure) {
            _ = linear(.ones([2, 3]), weight: .ones([4, 5]), bias: nil)
        }
    }

    @Test("channels that differ trap")
    func convolution() async {
        await #expect(processExitsWith: .failure) {
            _ = conv2d(.ones([1, 3, 4, 4]), weight: .ones([2, 4, 3, 3]), bias: nil)
        }
        await #expect(processExitsWith: .failure) {
            _ = groupNorm(.ones([1, 6, 2]), groups: 4, weight: .ones([6]), bias: .ones([6]), epsilon: 1e-5)
        }
    }

    @Test("an id outside the table traps")
    func embeddings() async {
        await #expect(processExitsWith: .failure) { _ = embedding([3], shape: [1], weight: .ones([3, 2])) }
    }

    @Test("a parameter cannot change its shape")
    func parameters() async {
        await #expect(processExitsWith: .failure) { Parameter("p", .ones([2])).value = .ones([3]) }
    }

    @Test("a custom operation with a gradient of the wrong shape traps")
    func ownOperation() async {
        await #expect(processExitsWith: .failure) {
            Tensor.custom("own", inputs: [Parameter("p", .ones([2])).tensor()], output: .zeros([2])) { _ in
                [.ones([3])]
            }
            .sum().backward()
        }
    }
}
