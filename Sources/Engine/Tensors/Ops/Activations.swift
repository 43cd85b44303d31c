// SPDX-License-Identifier: Apache-2.0
// Activation functions and other elementwise functions.

import CKernels

extension Tensor {
    /// x · sigmoid(x) (also called swish).
    public func silu() -> Tensor { unary("silu", BF_SILU) }
    /// x · Φ(x), computed with erf.
    public func gelu() -> Tensor { unary("gelu", BF_GELU) }
    /// x · sigmoid(1.702 x).
    public func quickGELU() -> Tensor { unary("quickGELU", BF_QUICK_GELU) }
    public func relu() -> Tensor { unary("relu", BF_RELU) }
    /// x · tanh(log(1 + eˣ)).
    public func mish() -> Tensor { unary("mish", BF_MISH) }
    public func exp() -> Tensor { unary("exp", BF_EXP) }
    public func square() -> Tensor { unary("square", BF_SQUARE) }
    public func sqrt() -> Tensor { unary("sqrt", BF_SQRT) }

    /// `[..., 2D]` → `[..., D]`: the first half times GELU of the second half (diffusers `GEGLU`; Shazeer 2020).
    public func geglu() -> Tensor {
        precondition(rank > 0 && shape[rank - 1] % 2 == 0, "geglu: the last axis of \(shape) is not even")
        let channels = shape[rank - 1] / 2
        let x = detached()
        let output = Tensor(unsafeUninitialized: shape.dropLast() + [channels])
        guard channels > 0 else { return output }
        let rows = count / (2 * channels)
        Threads.parallelFor(rows, grain: Threads.rowGrain(2 * channels)) { range in
            for row in range {
                kernels.geglu(x.pointer + 2 * row * channels, output.pointer + row * channels, channels)
            }
        }
        return .custom("geglu", inputs: [self], output: output) { g in
            let gx = Tensor(unsafeUninitialized: x.shape)
            Threads.parallelFor(rows, grain: Threads.rowGrain(2 * channels)) { range in
                for row in range {
                    kernels.geglu_grad(
                        x.pointer + 2 * row * channels, g.pointer + row * channels, gx.pointer + 2 * row * channels,
                        channels)
                }
            }
            return [gx]
        }
    }

    private func unary(_ name: StaticString, _ function: bf_unary) -> Tensor {
        let x = detached()
        let forward = bf_unary_kernel(kernelTable, function)
        let backward = bf_unary_grad_kernel(kernelTable, function)
        return .customInPlace(name, inputs: [self], output: mapped { forward($0, $1, $2) }) { g in
            let gx = g.overwritable()
            Threads.parallelFor(x.count, grain: elementwiseGrain) { range in
                backward(
                    x.pointer + range.lowerBound, g.pointer + range.lowerBound, gx.pointer + range.lowerBound,
                    range.count)
            }
            return [gx]
        }
    }
}
