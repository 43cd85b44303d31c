// SPDX-License-Identifier: Apache-2.0
// Fake quantization with the straight-through estimator and LSQ's gradient of the scale
// (Esser et al. 2020, arXiv:1902.08153, equations 1 to 3 and section 2.2).

import Tensors

/// s · clip(round(w / s), -Q, Q) per output channel, Q = 2^(b-1), with gradients for weights and scales.
///
/// - The weight's gradient passes where |w / s| < Q and is 0 elsewhere (straight-through).
/// - The scale's is g · Σ (code − w/s there, code elsewhere), times g = 1 / √(N·Q) with N weights in the channel.
///
/// - Parameters:
///   - weight: `[OC, ...]`, on or off the tape.
///   - scales: `[OC]`, > 0, on or off the tape.
///   - grid: the codes to be used.
/// - Returns: the shape of `weight`.
public func fakeQuantize(_ weight: Tensor, scales: Tensor, grid: BalancedGrid) -> Tensor {
    fakeQuantizedOperand(weight, scales: scales, grid: grid).materialized()
}

/// The same, made as it is read: `weight` and `scales` must keep their values until then.
func fakeQuantizedOperand(_ weight: Tensor, scales: Tensor, grid: BalancedGrid) -> Tensor {
    let (channels, width) = checkedRows(weight, scales)
    let maximumCode = Float(grid.maximumCode)
    let (values, steps) = (weight.detached(), scales.detached())
    let output = Tensor(weight.shape) { rows, codes in
        for channel in rows {
            kernels.fake_quantize(
                values.row(channel * width), steps[channel], maximumCode,
                codes + (channel - rows.lowerBound) * width, width)
        }
    }
    return .customInPlace("fakeQuantize", inputs: [weight, scales], output: output) { gradient in
        // The weight takes the gradient's storage if it has no other owner.
        let ofWeight = gradient.isUniquelyOwned() ? gradient : gradient.copied()
        let ofScales = Tensor(unsafeUninitialized: [channels])
        let factor = 1 / (Float(width) * maximumCode).squareRoot()
        forEachRow(channels, width) { channel in
            let total = kernels.fake_quantize_grad(
                values.row(channel * width), steps[channel], maximumCode,
                ofWeight.mutableRow(channel * width), width)
            ofScales.mutableRow(channel).pointee = total * factor
        }
        return [ofWeight, ofScales]
    }
}
