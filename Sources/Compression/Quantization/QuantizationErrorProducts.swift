// SPDX-License-Identifier: Apache-2.0
// Row-wise inner products of gradient and quantization error: the first-order change of a loss.

import Tensors

/// ⟨g_r, Q(w_r) - w_r⟩ of every output channel r: the first-order change of the differentiated quantity when row r
/// alone is quantized.
///
/// - Parameters:
///   - gradient: the shape of `weight`.
///   - weight: `[OC, ...]`.
///   - scales: `[OC]`, > 0.
///   - grid: the grid of the codes.
/// - Returns: OC values.
public func quantizationErrorProducts(
    _ gradient: Tensor, weight: Tensor, scales: Tensor, grid: QuantizationGrid
) -> [Double] {
    precondition(
        gradient.shape == weight.shape,
        "quantization error: gradient \(gradient.shape) of weight \(weight.shape)")
    let (channels, rowLength) = checkedRows(weight, scales)
    var products = [Double](repeating: 0, count: channels)
    let (low, high) = grid.range
    products.withUnsafeMutableBufferPointer { products in
        nonisolated(unsafe) let products = products
        Threads.parallelFor(channels, grain: Threads.rowGrain(rowLength, elements: weightsPerTask)) { range in
            let rounded = Tensor(unsafeUninitialized: [rowLength])
            for channel in range {
                let (weights, slope) = (weight.row(channel * rowLength), gradient.row(channel * rowLength))
                kernels.fake_quantize(
                    weights, scales[channel], low, high, grid.shrink, rounded.mutableRow(0), rowLength)
                // Subtract first: on fine grids the differences are small compared with the weights.
                kernels.axpy(-1, weights, rounded.mutableRow(0), rowLength)
                products[channel] = Double(kernels.dot(slope, rounded.row(0), rowLength))
            }
        }
    }
    return products
}
