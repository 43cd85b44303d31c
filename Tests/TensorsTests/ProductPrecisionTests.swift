// SPDX-License-Identifier: Apache-2.0
// Linear layers with products of bfloat16: results and gradients are those of rounded operands, and bit-equal for any
// number of threads.

import CKernels
import TestKit
import Testing

@testable import Tensors

@Suite struct ProductPrecisionTests {
    private struct Pass {
        var output, gradientOfInput, gradientOfWeight: [Float]
    }

    /// Forward and backward pass with the output's gradient `g`.
    private func pass(_ x: Tensor, _ weight: Tensor, _ g: Tensor, _ precision: ElementType) -> Pass {
        let (input, matrix) = (Parameter("x", x), Parameter("w", weight))
        return withProductPrecision(precision) {
            let output = linear(input.tensor(), weight: matrix.tensor(), bias: nil)
            (output * g).sum().backward()
            return Pass(
                output: output.values, gradientOfInput: input.gradient?.values ?? [],
                gradientOfWeight: matrix.gradient?.values ?? [])
        }
    }

    /// The product of `[m, k]` and `[k, n]` in Double.
    private func product(_ a: [Float], _ b: [Float], _ m: Int, _ k: Int, _ n: Int) -> [Double] {
        var result = [Double](repeating: 0, count: m * n)
        for i in 0..<m {
            for l in 0..<k {
                let factor = Double(a[i * k + l])
                for j in 0..<n { result[i * n + j] += factor * Double(b[l * n + j]) }
            }
        }
        return result
    }

    private func transposed(_ x: [Float], rows: Int, columns: Int) -> [Float] {
        (0..<x.count).map { x[$0 % rows * columns + $0 / rows] }
    }

    @Test(
        "outputs and gradients are products of rounded operands",
        arguments: [[40, 33, 50], [67, 64, 31], [18, 7, 5], [40, 130, 640]])
    func rounding(size: [Int]) {
        let (rows, inputs, outputs) = (size[0], size[1], size[2])
        let x = normal([rows, inputs], stream: 1), weight = normal([outputs, inputs], stream: 2)
        let g = normal([rows, outputs], stream: 3)
        let found = pass(x, weight, g, .bfloat16)
        let (a, w, d) = (x.roundedToBFloat16, weight.roundedToBFloat16, g.roundedToBFloat16)
        func tolerance(_ depth: Int) -> Tolerance {
            .float32Reduction(n: depth + 4, magnitude: Double(depth) * 1.3 + 4)
        }
        expectClose(
            found.output, product(a, transposed(w, rows: outputs, columns: inputs), rows, inputs, outputs),
            tolerance(inputs), "output")
        expectClose(
            found.gradientOfInput, product(d, w, rows, outputs, inputs), tolerance(outputs), "gradient of the input")
        expectClose(
            found.gradientOfWeight, product(transposed(d, rows: rows, columns: outputs), a, outputs, rows, inputs),
            tolerance(rows), "gradient of the weight")
    }

    @Test("all products have the same bits for any number of threads, and with lazy weights")
    func threads() {
        let before = Threads.count
        defer { Threads.count = before }
        let x = normal([300, 130], stream: 1), weight = normal([97, 130], stream: 2)
        let g = normal([300, 97], stream: 3)
        let passes = [1, 2, 3, 5].map { count in
            Threads.count = count
            return pass(x, weight, g, .bfloat16)
        }
        for other in passes.dropFirst() {
            #expect(other.output == passes[0].output)
            #expect(other.gradientOfInput == passes[0].gradientOfInput)
            #expect(other.gradientOfWeight == passes[0].gradientOfWeight)
        }
        let bits = weight.withUnsafeBufferPointer { Float16Bits.encode($0, .bfloat16) }
        let half = Weight16(name: "w", bits: bits, shape: weight.shape, type: .bfloat16)
        let output = withProductPrecision(.bfloat16) { linear(x, weight: half.lazyTensor(), bias: nil) }
        #expect(output.values == passes[0].output)
    }

    @Test("a lazy weight that is read in parts gives the gradient of a dense one")
    func lazyGradient() {
        let values = normal([601, 203], stream: 2)
        let bits = values.withUnsafeBufferPointer { Float16Bits.encode($0, .bfloat16) }
        let half = Weight16(name: "w", bits: bits, shape: values.shape, type: .bfloat16)
        let g = normal([40, 601], stream: 3)
        func gradient(_ weight: Tensor) -> [Float]? {
            let x = Parameter("x", normal([40, 203], stream: 1))
            withProductPrecision(.bfloat16) { (linear(x.tensor(), weight: weight, bias: nil) * g).sum().backward() }
            return x.gradient?.values
        }
        #expect(gradient(half.lazyTensor()) == gradient(half.tensor()))
    }

    @Test("frozen weights keep the panels of both precisions")
    func frozenWeights() {
        let weight = Parameter("w", normal([64, 48], stream: 2), isTrainable: false)
        let g = normal([40, 64], stream: 3)
        func pass(_ precision: ElementType) -> [[Float]] {
            let x = Parameter("x", normal([40, 48], stream: 1))
            return withProductPrecision(precision) {
                let output = linear(x.tensor(), weight: weight.value, bias: nil)
                (output * g).sum().backward()
                return [output.values, x.gradient?.values ?? []]
            }
        }
        let (plain, rounded) = (pass(.float32), pass(.bfloat16))
        #expect(plain != rounded)
        #expect(pass(.float32) == plain && pass(.bfloat16) == rounded)
    }

    @Test("products of few rows, and all outside of the function, are Float32")
    func scope() {
        let x = normal([kernels.vector_width, 64], stream: 1), weight = normal([48, 64], stream: 2)
        let plain = linear(x, weight: weight, bias: nil).values
        #expect(withProductPrecision(.bfloat16) { linear(x, weight: weight, bias: nil).values } == plain)
        let wide = normal([100, 64], stream: 1)
        let exact = linear(wide, weight: weight, bias: nil).values
        #expect(withProductPrecision(.bfloat16) { linear(wide, weight: weight, bias: nil).values } != exact)
        #expect(linear(wide, weight: weight, bias: nil).values == exact)
        #expect(ProductPrecision.bfloat16Time > 0)
    }
}
