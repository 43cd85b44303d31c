// SPDX-License-Identifier: Apache-2.0
// Products of a gradient and the quantization error, row by row: the terms of a linear model of the sensitivity.

import Tensors

/// ⟨g_r, Q(w_r) - w_r⟩ of every output channel r: what the quantity behind `gradient` changes by, to first order, when
/// row r alone is quantized.
///
/// - Parameters:
///   - gradient: the shape of `weight`.
///   - weight: `[OC, ...]`.
///   - scales: `[OC]`, > 0.
///   - grid: the codes to be used.
/// - Returns: OC values.
public func quantizationErrorProducts(
    _ gradient: Tensor, weight: Tensor, scales: Tensor, grid: BalancedGrid
) -> [Double] {
    precondition(
        gradient.shape == weight.shape,
        "quantization error: gradient \(gradient.shape) of weight \(weight.shape)")
    let (channels, width) = checkedRows(weight, scales)
    var products = [Double](repeating: 0, count: channels)
    let maximumCode = Float(grid.maximumCode)
    products.withUnsafeMutableBufferPointer { products in
        nonisolated(unsafe) let products = products
        Threads.parallelFor(channels, grain: max((1 << 15) / max(width, 1), 1)) { range in
            let rounded = Tensor(unsafeUninitialized: [width])
            for channel in range {
                let (own, slope) = (weight.row(channel * width), gradient.row(channel * width))
                kernels.fake_quantize(own, scales[channel], maximumCode, rounded.mutableRow(0), width)
                // Differences first: near the end of wide grids they are small beside the weights.
                kernels.axpy(-1, own, rounded.mutableRow(0), width)
                products[channel] = Double(kernels.dot(slope, rounded.row(0), width))
            }
        }
    }
    return products
}
