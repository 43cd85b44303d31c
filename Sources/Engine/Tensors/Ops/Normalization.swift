// SPDX-License-Identifier: Apache-2.0
// GroupNorm (with optional fused SiLU), LayerNorm, softmax and L2 normalization.

import CKernels

/// Group normalization of `[N, C, ...]` (Wu and He 2018), optionally followed by SiLU in the same pass.
///
/// - Parameters:
///   - x: `[N, C, ...]`.
///   - groups: G, divides C; mean and biased variance are computed over each group of C/G channels.
///   - weight: `[C]`, the scale.
///   - bias: `[C]`, the shift.
///   - epsilon: added to the variance.
///   - silu: apply x · sigmoid(x) to the result.
/// - Returns: the shape of `x`.
public func groupNorm(
    _ x: Tensor, groups: Int, weight: Tensor, bias: Tensor, epsilon: Float, silu: Bool = false
) -> Tensor {
    groupNorm(x, groups, weight, bias, epsilon, silu, into: Tensor(unsafeUninitialized: x.shape))
}

/// As `groupNorm(_:)`; `x` is replaced by the result, in the same memory if no other tensor shares it and the operation
/// is not recorded.
public func groupNorm(
    replacing x: inout Tensor, groups: Int, weight: Tensor, bias: Tensor, epsilon: Float, silu: Bool = false
) {
    let isRecorded = [x, weight, bias].contains { $0.requiresGradient }
    let output = isRecorded ? Tensor(unsafeUninitialized: x.shape) : x.overwritable()
    x = groupNorm(x, groups, weight, bias, epsilon, silu, into: output)
}

/// `output`: new memory, or `x` itself.
private func groupNorm(
    _ x: Tensor, _ groups: Int, _ weight: Tensor, _ bias: Tensor, _ epsilon: Float, _ silu: Bool, into output: Tensor
) -> Tensor {
    precondition(
        x.rank >= 2 && x.shape[1] % groups == 0,
        "groupNorm: x \(x.shape): the channels are not a multiple of \(groups) groups")
    let (batch, channels) = (x.shape[0], x.shape[1])
    precondition(
        weight.shape == [channels] && bias.shape == [channels],
        "groupNorm: weight \(weight.shape), bias \(bias.shape) for \(channels) channels")
    let inner = x.shape[2...].reduce(1, *)
    let groupChannels = channels / groups
    let mean = Tensor(unsafeUninitialized: [batch, groups]),
        rstd = Tensor(unsafeUninitialized: [batch, groups])
    let grain = Threads.rowGrain(groupChannels * inner)
    Threads.parallelFor(batch * groups, grain: grain) { range in
        for index in range {
            let start = index * groupChannels * inner, channel = index % groups * groupChannels
            kernels.group_norm(
                x.pointer + start, weight.pointer + channel, bias.pointer + channel, output.pointer + start,
                groupChannels,
                inner, epsilon, silu, mean.pointer + index, rstd.pointer + index)
        }
    }
    let (input, scale, shift) = (x.detached(), weight.detached(), bias.detached())
    let needs = (weight.node != nil, bias.node != nil)
    return .customInPlace("groupNorm", inputs: [x, weight, bias], output: output) { g in
        let gx = g.overwritable()
        let gw = Tensor(unsafeUninitialized: [batch, channels]),
            gb = Tensor(unsafeUninitialized: [batch, channels])
        Threads.parallelFor(batch * groups, grain: grain) { range in
            for index in range {
                let start = index * groupChannels * inner, channel = index % groups * groupChannels
                let row = index / groups * channels + channel
                kernels.group_norm_grad(
                    input.pointer + start, g.pointer + start, scale.pointer + channel,
                    shift.pointer + channel,
                    mean.pointer[index], rstd.pointer[index], silu, gx.pointer + start, gw.pointer + row,
                    gb.pointer + row, groupChannels, inner)
            }
        }
        return [gx, needs.0 ? gw.sum(axes: [0]) : nil, needs.1 ? gb.sum(axes: [0]) : nil]
    }
}

/// Layer normalization over the last axis (Ba et al. 2016); `weight` and `bias` are `[D]`.
public func layerNorm(_ x: Tensor, weight: Tensor?, bias: Tensor?, epsilon: Float = 1e-5) -> Tensor {
    precondition(x.rank > 0, "layerNorm: a scalar has no axis to normalize")
    let rowLength = x.shape[x.rank - 1]
    for parameter in [weight, bias] {
        precondition(
            parameter?.shape ?? [rowLength] == [rowLength],
            "layerNorm: parameter \(parameter?.shape ?? []) for \(x.shape)")
    }
    let rows = rowLength == 0 ? 0 : x.count / rowLength
    let output = Tensor(unsafeUninitialized: x.shape)
    let mean = Tensor(unsafeUninitialized: [rows]), rstd = Tensor(unsafeUninitialized: [rows])
    let grain = Threads.rowGrain(rowLength)
    Threads.parallelFor(rows, grain: grain) { range in
        let first = range.lowerBound
        kernels.layer_norm(
            x.pointer + first * rowLength, weight?.pointer, bias?.pointer, output.pointer + first * rowLength,
            range.count, rowLength,
            epsilon, mean.pointer + first, rstd.pointer + first)
    }
    let (input, scale) = (x.detached(), weight?.detached())
    let (hasWeight, hasBias) = (weight != nil, bias != nil)
    let inputs = [x] + [weight, bias].compactMap { $0 }
    return .customInPlace("layerNorm", inputs: inputs, output: output) { g in
        let gx = g.overwritable()
        // The parts depend on the number of rows only, so that sums do not depend on the number of threads.
        let part = max(grain, (rows + 15) / 16)
        let parts = (rows + part - 1) / part
        let gw = Tensor.zeros([parts, rowLength]), gb = Tensor.zeros([parts, rowLength])
        Threads.parallelFor(parts) { range in
            for index in range {
                let first = index * part
                kernels.layer_norm_grad(
                    input.pointer + first * rowLength, g.pointer + first * rowLength, scale?.pointer,
                    mean.pointer + first,
                    rstd.pointer + first, gx.pointer + first * rowLength,
                    hasWeight ? gw.pointer + index * rowLength : nil,
                    hasBias ? gb.pointer + index * rowLength : nil, min(part, rows - first), rowLength)
            }
        }
        return [gx] + (hasWeight ? [gw.sum(axes: [0])] : []) + (hasBias ? [gb.sum(axes: [0])] : [])
    }
}

extension Tensor {
    /// Softmax over the last axis.
    public func softmax() -> Tensor {
        precondition(rank > 0, "softmax: a scalar has no axis")
        let rowLength = shape[rank - 1]
        let rows = rowLength == 0 ? 0 : count / rowLength
        let output = Tensor(unsafeUninitialized: shape)
        let grain = Threads.rowGrain(rowLength)
        Threads.parallelFor(rows, grain: grain) { range in
            kernels.softmax(
                pointer + range.lowerBound * rowLength, output.pointer + range.lowerBound * rowLength, range.count,
                rowLength)
        }
        return .customInPlace("softmax", inputs: [self], output: output) { g in
            let gx = g.overwritable()
            Threads.parallelFor(rows, grain: grain) { range in
                let first = range.lowerBound * rowLength
                kernels.softmax_grad(
                    output.pointer + first, g.pointer + first, gx.pointer + first, range.count, rowLength)
            }
            return [gx]
        }
    }

    /// Rows of the last axis divided by their length √(Σx² + ε).
    public func l2Normalized(epsilon: Float = 1e-12) -> Tensor {
        self / (square().sum(axes: [-1], keepDims: true) + epsilon).sqrt()
    }
}
