// SPDX-License-Identifier: Apache-2.0
// Activations and other elementwise functions.

import CKernels

extension Tensor {
    /// x · sigmoid(x) (also called swish).
    public func silu() -> Tensor { unary("silu", kernels.unary.0, kernels.unary_grad.0) }
    /// x · Φ(x), by erf.
    public func gelu() -> Tensor { unary("gelu", kernels.unary.1, kernels.unary_grad.1) }
    /// GELU's tanh approximation.
    public func geluTanh() -> Tensor { unary("geluTanh", kernels.unary.2, kernels.unary_grad.2) }
    /// x · sigmoid(1.702 x).
    public func quickGELU() -> Tensor { unary("quickGELU", kernels.unary.3, kernels.unary_grad.3) }
    public func relu() -> Tensor { unary("relu", kernels.unary.4, kernels.unary_grad.4) }
    /// x · tanh(log(1 + eˣ)).
    public func mish() -> Tensor { unary("mish", kernels.unary.5, kernels.unary_grad.5) }
    public func exp() -> Tensor { unary("exp", kernels.unary.6, kernels.unary_grad.6) }
    public func square() -> Tensor { unary("square", kernels.unary.7, kernels.unary_grad.7) }
    public func sqrt() -> Tensor { unary("sqrt", kernels.unary.8, kernels.unary_grad.8) }
    public func tanh() -> Tensor { unary("tanh", kernels.unary.9, kernels.unary_grad.9) }

    /// `[..., 2D]` → `[..., D]`: the first half times gelu of the second (diffusers `GEGLU`; Shazeer 2020).
    public func geglu() -> Tensor {
        precondition(rank > 0 && shape[rank - 1] % 2 == 0, "geglu: the last axis of \(shape) is not even")
        let width = shape[rank - 1] / 2
        let x = detached()
        let output = Tensor(unsafeUninitialized: shape.dropLast() + [width])
        guard width > 0 else { return output }
        let rows = count / (2 * width)
        Threads.parallelFor(rows, grain: max(elementwiseGrain / (2 * width), 1)) { range in
            for row in range {
                kernels.geglu(x.pointer + 2 * row * width, output.pointer + row * width, width)
            }
        }
        return .custom("geglu", inputs: [self], output: output) { g in
            let gx = Tensor(unsafeUninitialized: x.shape)
            Threads.parallelFor(rows, grain: max(elementwiseGrain / (2 * width), 1)) { range in
                for row in range {
                    kernels.geglu_grad(
                        x.pointer + 2 * row * width, g.pointer + row * width, gx.pointer + 2 * row * width,
                        width)
                }
            }
            return [gx]
        }
    }

    private typealias Forward =
        @convention(c) (UnsafePointer<Float>?, UnsafeMutablePointer<Float>?, Int) -> Void
    private typealias Backward =
        @convention(c) (UnsafePointer<Float>?, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?, Int) ->
        Void

    private func unary(_ name: StaticString, _ forward: Forward, _ backward: @escaping Backward) -> Tensor {
        let x = detached()
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
