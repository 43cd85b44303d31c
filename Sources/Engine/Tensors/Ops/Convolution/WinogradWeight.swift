// SPDX-License-Identifier: Apache-2.0
// The transform of a 3x3 kernel for Winograd's algorithm: (m + 2)² matrices whose rows run along the channels of the
// sum, for the convolution and for the gradient of its input.

import CKernels

/// The transform of weights `[OC, IC, 3, 3]` for F(m x m, 3 x 3).
struct WinogradWeight {
    let m, outputs, inputs: Int

    /// Output and input channels of the filters that are transposed at a time: a cache line of 64 rows.
    private static let transposedOutputs = 16, transposedInputs = 64

    init(_ m: Int, outputs: Int, inputs: Int) { (self.m, self.outputs, self.inputs) = (m, outputs, inputs) }

    private var products: Int { (m + 2) * (m + 2) }
    /// Number of floats from the matrix of one product to the next.
    private var perProduct: Int { WinogradConvolution.paddedStride(outputs * inputs) }

    /// [(m + 2)², OC, IC]; cached with a frozen weight.
    func factors(of weight: Tensor) -> Storage {
        weight.prepacked(
            .winograd(m: m, outputs: outputs, inputs: inputs), floats: products * perProduct,
            make: { transformed(weight) })
    }

    /// [(m + 2)², IC, OC] of the kernels rotated by 180 degrees; cached with the weight if `isCached`.
    func rotatedFactors(of weight: Tensor, isCached: Bool) -> Storage {
        guard isCached else { return rotated(weight) }
        return weight.prepacked(
            .winogradGradient(m: m, outputs: outputs, inputs: inputs), floats: products * perProduct,
            make: { rotated(weight) })
    }

    private func transformed(_ weight: Tensor) -> Storage {
        let factors = Storage(count: products * perProduct)
        Threads.parallelFor(outputs, grain: max((1 << 12) / max(inputs, 1), 1)) { range in
            weight.forEachRows(of: range) { part, filters in
                kernels.winograd_weights(
                    Int32(m), filters, factors.pointer + part.lowerBound * inputs, part.count, inputs,
                    perProduct, false)
            }
        }
        return factors
    }

    /// Filters are transformed to scratch memory in the second-level cache and transposed from there, a cache line at a
    /// time. Without the transpose, each step of the product along the outputs would access another page.
    private func rotated(_ weight: Tensor) -> Storage {
        let factors = Storage(count: products * perProduct)
        let (lines, columns) = (Self.transposedOutputs, Self.transposedInputs)
        let bands = (outputs + lines - 1) / lines
        let perScratch = WinogradConvolution.paddedStride(lines * columns)
        Threads.parallelFor(bands) { range in
            let scratch = Storage(count: products * perScratch)
            let rows = range.lowerBound * lines..<min(range.upperBound * lines, outputs)
            weight.forEachRows(of: rows, unit: lines) { part, filters in
                for first in stride(from: part.lowerBound, to: part.upperBound, by: lines) {
                    let band = first..<min(first + lines, part.upperBound)
                    let source = filters + (first - part.lowerBound) * inputs * 9
                    for input in stride(from: 0, to: inputs, by: columns) {
                        let count = min(columns, inputs - input)
                        for row in 0..<band.count {
                            kernels.winograd_weights(
                                Int32(m), source + (row * inputs + input) * 9,
                                scratch.pointer + row * columns, 1, count, perScratch, true)
                        }
                        for product in 0..<products {
                            kernels.transpose(
                                scratch.pointer + product * perScratch,
                                factors.pointer + product * perProduct + input * outputs + first, band.count,
                                count, columns, outputs)
                        }
                    }
                }
            }
        }
        return factors
    }
}
