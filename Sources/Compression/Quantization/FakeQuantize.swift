// SPDX-License-Identifier: Apache-2.0
// Fake quantization with the straight-through estimator and LSQ's gradient of the scale
// (Esser et al. 2020, arXiv:1902.08153, equations 1 to 3 and section 2.2).

import Tensors

/// s · clip(round(w / s), -Q, Q) per output channel, Q = 2^(b-1), with gradients for weights and scales.
///
/// - The gradient of the weight is passed on where |w / s| < Q and is 0 elsewhere (straight-through).
/// - The gradient of a scale is the sum of (code − w/s where |w / s| < Q, code elsewhere) over the channel, times
///   1 / √(N·Q) with N weights in the channel.
///
/// - Parameters:
///   - weight: `[OC, ...]`, on or off the tape.
///   - scales: `[OC]`, > 0, on or off the tape.
///   - grid: the grid of the codes.
/// - Returns: the shape of `weight`.
public func fakeQuantize(_ weight: Tensor, scales: Tensor, grid: BalancedGrid) -> Tensor {
    fakeQuantizedOperand(weight, scales: scales, grid: grid).materialized()
}

/// As `fakeQuantize`, but computed on access. The values of `weight` and `scales` must not change before.
func fakeQuantizedOperand(_ weight: Tensor, scales: Tensor, grid: BalancedGrid) -> Tensor {
    let (channels, rowLength) = checkedRows(weight, scales)
    let maximumCode = Float(grid.maximumCode)
    let (values, steps) = (weight.detached(), scales.detached())
    let output = Tensor(weight.shape) { rows, codes in
        for channel in rows {
            kernels.fake_quantize(
                values.row(channel * rowLength), steps[channel], maximumCode,
                codes + (channel - rows.lowerBound) * rowLength, rowLength)
        }
    }
    return .customInPlace("fakeQuantize", inputs: [weight, scales], output: output) { gradient in
        // Computed in place where the gradient is not shared.
        let ofWeight = gradient.isUniquelyOwned() ? gradient : gradient.copied()
        let ofScales = Tensor(unsafeUninitialized: [channels])
        let factor = 1 / (Float(rowLength) * maximumCode).squareRoot()
        forEachRow(channels, rowLength) { channel in
            let total = kernels.fake_quantize_grad(
                values.row(channel * rowLength), steps[channel], maximumCode,
                ofWeight.mutableRow(channel * rowLength), rowLength)
            ofScales.mutableRow(channel).pointee = total * factor
        }
        return [ofWeight, ofScales]
    }
}
