// SPDX-License-Identifier: Apache-2.0
// Lazy weights: the same bits as dense weights, without storing the dense weight.

import Checkpoints
import Synchronization
import Testing

@testable import Tensors

@Suite struct LazyRowsTests {
    /// `dense` as lazy rows.
    private func rows(_ dense: Tensor) -> Tensor {
        let width = dense.shape.dropFirst().reduce(1, *)
        return Tensor(dense.shape) { rows, values in
            dense.withUnsafeBufferPointer { source in
                guard let base = source.baseAddress else { return }
                values.update(from: base + rows.lowerBound * width, count: rows.count * width)
            }
        }
    }

    @Test(
        "values, copies and views of lazy rows equal the dense ones",
        arguments: [[5, 7], [1], [0, 3], [3, 0], [300, 400]])
    func values(shape: [Int]) {
        let dense = normal(shape)
        #expect(rows(dense).values == dense.values)
        #expect((rows(dense) * 2).values == (dense * 2).values)
        #expect(rows(dense).reshaped([dense.count]).values == dense.values)
    }

    @Test("parts cover a range in order, in multiples of the unit, without materializing all rows")
    func parts() {
        let dense = normal([1000, 500])
        for unit in [1, 28, 32] {
            let lazy = rows(dense)
            var next = 37
            lazy.forEachRows(of: 37..<901, unit: unit) { part, values in
                #expect(part.lowerBound == next)
                #expect(part.count % unit == 0 || part.upperBound == 901)
                #expect(values[1] == dense[part.lowerBound * 500 + 1])
                #expect(values[part.count * 500 - 1] == dense[part.upperBound * 500 - 1])
                next = part.upperBound
            }
            #expect(next == 901)
            #expect(lazy.lazyRows != nil, "still not in memory")
            lazy.materialized()
            #expect(lazy.lazyRows == nil)
            var calls = 0
            lazy.forEachRows(of: 0..<1000) { _, _ in calls += 1 }
            #expect(calls == 1, "materialized rows are read in one part")
        }
    }

    @Test("two concurrent readers materialize the values once")
    func once() {
        let calls = Atomic<Int>(0)
        let lazy = Tensor([4, 8]) { rows, values in
            calls.add(rows.count, ordering: .relaxed)
            values.update(repeating: 1, count: rows.count * 8)
        }
        Threads.parallelFor(16) { range in for _ in range { precondition(lazy[31] == 1) } }
        #expect(calls.load(ordering: .relaxed) == 4)
    }

    /// Output and gradients of `operation` on a dense weight or on lazy rows.
    private func results(
        _ x: [Int], _ weight: [Int], asRows: Bool, _ operation: (Tensor, Tensor, Tensor) -> Tensor
    ) -> [[UInt32]] {
        let (input, bias) = (
            Parameter("x", normal(x, stream: 1)), Parameter("b", normal([weight[0]], stream: 2))
        )
        let kernel = Parameter("w", normal(weight, stream: 3))
        let leaf = kernel.tensor()
        let operand =
            asRows ? Tensor.custom("rows", inputs: [leaf], output: rows(kernel.value)) { [$0] } : leaf * 1
        let output = operation(input.tensor(), operand, bias.tensor())
        output.backward(normal(output.shape, stream: 4))
        return ([output] + [input, kernel, bias].compactMap(\.gradient)).map { $0.values.map(\.bitPattern) }
    }

    @Test(
        "linear layers compute the same bits from lazy rows, for few and many tokens",
        arguments: [[3, 40, 50], [16, 33, 70], [40, 96, 64], [200, 130, 300], [1, 1, 1]])
    func linearLayers(sizes: [Int]) {
        let (tokens, inputs, outputs) = (sizes[0], sizes[1], sizes[2])
        let both = [false, true].map { asRows in
            results([tokens, inputs], [outputs, inputs], asRows: asRows) { linear($0, weight: $1, bias: $2) }
        }
        #expect(both[0].count == 4)
        #expect(both[0] == both[1])
    }

    @Test(
        "convolutions compute the same bits from lazy rows, by columns and by Winograd",
        arguments: [ConvolutionAlgorithm.columns, .winograd(2), .winograd(4)],
        [[1, 20, 8, 8, 30], [2, 33, 9, 7, 17], [1, 64, 4, 4, 96]])
    func convolutions(algorithm: ConvolutionAlgorithm, sizes: [Int]) {
        let both = [false, true].map { asRows in
            ConvolutionAlgorithm.$forced.withValue(algorithm) {
                results(
                    Array(sizes[..<4]), [sizes[4], sizes[1], 3, 3], asRows: asRows
                ) { conv2d($0, weight: $1, bias: $2, padding: 1) }
            }
        }
        #expect(both[0].count == 4)
        #expect(both[0] == both[1])
        let pointwise = [false, true].map { asRows in
            results(Array(sizes[..<4]), [sizes[4], sizes[1], 1, 1], asRows: asRows) {
                conv2d($0, weight: $1, bias: $2)
            }
        }
        #expect(pointwise[0] == pointwise[1])
    }

    @Test("16-bit weights as lazy operands equal their dense tensors")
    func halves() {
        for type in [ElementType.float16, .bfloat16] {
            let bits = normal([40, 30]).withUnsafeBufferPointer { Float16Bits.encode($0, type) }
            let weight = Weight16(name: "w", bits: bits, shape: [40, 30], type: type)
            #expect(weight.lazyTensor().lazyRows != nil)
            #expect(weight.lazyTensor().values == weight.tensor().values)
        }
    }

    @Test("the weight of a layer is prepacked without being materialized")
    func memory() async {
        await #expect(processExitsWith: .success) {
            let weight = Weight16(
                name: "w", bits: [UInt16](repeating: 0x3f80, count: 1 << 22), shape: [1 << 11, 1 << 11],
                type: .bfloat16)
            let x = Tensor.ones([64, 1 << 11])
            _ = linear(x, weight: .ones([1, 1 << 11]), bias: nil)
            BlockPool.shared.trim()
            let before = BlockPool.shared.peakLiveBytes
            let output = linear(x, weight: weight.lazyTensor(), bias: nil)
            precondition(output[77] == 2048)
            // The panels are as large as the weight; the dense weight would double the memory.
            precondition(BlockPool.shared.peakLiveBytes - before < 24 << 20, "the dense weight was made")
        }
    }
}
