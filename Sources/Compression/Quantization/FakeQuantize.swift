// SPDX-License-Identifier: Apache-2.0
// Fake quantization with the straight-through estimator and LSQ's gradient of the scale
// (Esser et al. 2020, arXiv:1902.08153, equations 1 to 3 and section 2.2).

import Tensors

/// s · clip(round(w / s), -P, Q) per output channel, with gradients for weights and scales. Balanced grids of b bits
/// have P = Q = 2^(b-1); LSQ's grid has Q = 2^(b-1) - 1.
///
/// On grids with a dead zone, w / s is moved towards 0 by the part of the dead zone beyond 0.5 before it is rounded.
/// The conditions below are on the moved value.
///
/// - The gradient of the weight is passed on where -P < w / s < Q and is 0 elsewhere (straight-through).
/// - The gradient of a scale is the sum of (code − w/s where -P < w / s < Q, code elsewhere) over the channel, times
///   1 / √(N·Q) with N weights in the channel (Q = 1 for the codes -1 and 0).
///
/// - Parameters:
///   - weight: `[OC, ...]`, on or off the tape.
///   - scales: `[OC]`, > 0, on or off the tape.
///   - grid: the grid of the codes.
/// - Returns: the shape of `weight`.
public func fakeQuantize(_ weight: Tensor, scales: Tensor, grid: QuantizationGrid) -> Tensor {
    fakeQuantizedOperand(weight, scales: scales, grid: grid).materialized()
}

/// As `fakeQuantize`, but computed on access. The values of `weight` and `scales` must not change before.
func fakeQuantizedOperand(_ weight: Tensor, scales: Tensor, grid: QuantizationGrid) -> Tensor {
    let (channels, rowLength) = checkedRows(weight, scales)
    let (low, high) = grid.range
    let (values, steps) = (weight.detached(), scales.detached())
    let output = Tensor(weight.shape) { rows, codes in
        for channel in rows {
            kernels.fake_quantize(
                values.row(channel * rowLength), steps[channel], low, high, grid.shrink,
                codes + (channel - rows.lowerBound) * rowLength, rowLength)
        }
    }
    return .customInPlace("fakeQuantize", inputs: [weight, scales], output: output) { gradient in
        // Computed in place where the gradient is not shared.
        let ofWeight = gradient.isUniquelyOwned() ? gradient : gradient.copied()
        let ofScales = Tensor(unsafeUninitialized: [channels])
        let factor = 1 / (Float(rowLength) * max(high, 1)).squareRoot()
        forEachRow(channels, rowLength) { channel in
            let total = kernels.fake_quantize_grad(
                values.row(channel * rowLength), steps[channel], low, high, grid.shrink,
                ofWeight.mutableRow(channel * rowLength), rowLength)
            ofScales.mutableRow(channel).pointee = total * factor
        }
        return [ofWeight, ofScales]
    }
}
