// SPDX-License-Identifier: Apache-2.0
// What operations keep of their operands until the backward pass. A weight that is cheap to make again (rounded to a
// grid, decoded from 16 bits) is not kept: between its uses it takes no memory.

extension Tensor {
    /// This tensor, with a way to make its values again. Operations that save an operand for their backward pass then
    /// keep `make` in place of the values (see `SavedTensor`).
    ///
    /// - Parameter make: the same shape and bits, off the tape, whenever it is called before the backward pass ends.
    /// - Returns: this tensor; without `make` where no gradients are recorded.
    package func remade(by make: @escaping () -> Tensor) -> Tensor {
        guard GradientMode.isEnabled else { return self }
        var result = self
        result.remake = make
        return result
    }
}

/// An operand as an operation keeps it for its backward pass: the values, or how to make them again.
struct SavedTensor {
    let shape: [Int]
    private let kept: Tensor?
    private let remake: (() -> Tensor)?

    init(_ tensor: Tensor) {
        shape = tensor.shape
        kept = tensor.remake == nil ? tensor.detached() : nil
        remake = tensor.remake
    }

    /// The values, off the tape; ask once per backward pass.
    func values() -> Tensor {
        guard let remake else {
            guard let kept else { preconditionFailure("a saved tensor is kept or made again") }
            return kept
        }
        let made = withoutGradients(remake)
        precondition(made.shape == shape, "remade: \(made.shape) in place of \(shape)")
        return made
    }
}
