// SPDX-License-Identifier: Apache-2.0
// What AdamW remembers of one parameter's gradients, in the precision that the run was given.

import Tensors

/// The running means of a parameter's gradient and of its square, each of the parameter's shape.
package enum OptimizerMoments {
    case float32(first: Tensor, second: Tensor)
    case bfloat16(first: Tensor16, second: Tensor16)

    /// All zeros.
    init(zeros shape: [Int], type: ElementType) {
        if type == .float32 {
            self = .float32(first: .zeros(shape), second: .zeros(shape))
        } else {
            self = .bfloat16(
                first: Tensor16(zeros: shape, type: .bfloat16),
                second: Tensor16(zeros: shape, type: .bfloat16))
        }
    }

    /// The mean of the gradient, in Float32.
    package var first: Tensor {
        switch self {
        case .float32(let first, _): first
        case .bfloat16(let first, _): first.widened()
        }
    }

    /// The mean of its square, in Float32.
    package var second: Tensor {
        switch self {
        case .float32(_, let second): second
        case .bfloat16(_, let second): second.widened()
        }
    }

    /// The same precision with other values, which are copied; those that were moments of this precision come back bit
    /// by bit.
    func replaced(first: Tensor, second: Tensor) -> OptimizerMoments {
        switch self {
        case .float32: return .float32(first: first.copied(), second: second.copied())
        case .bfloat16(let present, let presentSquare):
            present.assign(first)
            presentSquare.assign(second)
            return self
        }
    }
}
