// SPDX-License-Identifier: Apache-2.0
// A 3x3 kernel as the products of Winograd's algorithm read it: (m + 2)² matrices, each with the channels that are summed
// over along its rows, both for the convolution and for the one that gives the gradient of its input.

import CKernels

/// The transform of weights `[OC, IC, 3, 3]` for F(m x m, 3 x 3).
struct WinogradWeight {
    let m, outputs, inputs: Int

    /// Filters turned at a time: a line of the turned matrix, and as many of its rows.
    private static let turnedOutputs = 16, turnedInputs = 64

    init(_ m: Int, outputs: Int, inputs: Int) { (self.m, self.outputs, self.inputs) = (m, outputs, inputs) }

    private var products: Int { (m + 2) * (m + 2) }
    /// Floats from one product's matrix to the next one's.
    private var perProduct: Int { WinogradConvolution.spread(outputs * inputs) }

    /// [(m + 2)², OC, IC]; kept with a weight that is frozen.
    func factors(of weight: Tensor) -> Storage {
        weight.packed(
            .winograd(m: m, outputs: outputs, inputs: inputs), floats: products * perProduct,
            make: { transformed(weight) })
    }

    /// [(m + 2)², IC, OC] of the kernels turned by 180 degrees; kept with the weight where `isKept`.
    func turnedFactors(of weight: Tensor, isKept: Bool) -> Storage {
        guard isKept else { return turned(weight) }
        return weight.packed(
            .winogradGradient(m: m, outputs: outputs, inputs: inputs), floats: products * perProduct,
            make: { turned(weight) })
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

    /// Filters are transformed into a scratch that stays in the second-level cache and turned from there, a line at a time:
    /// the product then reads rows, where it would cross a page with every step along the outputs.
    private func turned(_ weight: Tensor) -> Storage {
        let factors = Storage(count: products * perProduct)
        let (lines, width) = (Self.turnedOutputs, Self.turnedInputs)
        let bands = (outputs + lines - 1) / lines
        let perScratch = WinogradConvolution.spread(lines * width)
        Threads.parallelFor(bands) { range in
            let scratch = Storage(count: products * perScratch)
            let rows = range.lowerBound * lines..<min(range.upperBound * lines, outputs)
            weight.forEachRows(of: rows, unit: lines) { part, filters in
                for first in stride(from: part.lowerBound, to: part.upperBound, by: lines) {
                    let band = first..<min(first + lines, part.upperBound)
                    let source = filters + (first - part.lowerBound) * inputs * 9
                    for input in stride(from: 0, to: inputs, by: width) {
                        let count = min(width, inputs - input)
                        for row in 0..<band.count {
                            kernels.winograd_weights(
                                Int32(m), source + (row * inputs + input) * 9,
                                scratch.pointer + row * width, 1, count, perScratch, true)
                        }
                        for product in 0..<products {
                            kernels.transpose(
                                scratch.pointer + product * perScratch,
                                factors.pointer + product * perProduct + input * outputs + first, band.count,
                                count, width, outputs)
                        }
                    }
                }
            }
        }
        return factors
    }
}
