// SPDX-License-Identifier: Apache-2.0
// Public interface of automatic differentiation: `backward`, `detached` and custom operations.

extension Tensor {
    /// True if this tensor depends on a trainable parameter and is on the tape.
    public var requiresGradient: Bool { node != nil }

    /// The same values off the tape.
    public func detached() -> Tensor { Tensor(storage: storage, offset: offset, shape: shape) }

    /// Adds d(self)/d(parameter), weighted with `gradient`, to the gradient of every trainable parameter.
    ///
    /// The pass consumes the tape: activations are freed during the pass, and a second call on the same result traps.
    ///
    /// - Parameter gradient: the shape of `self`; nil means ones, as for a scalar loss.
    public func backward(_ gradient: Tensor? = nil) {
        guard let node else { return }
        if let gradient {
            precondition(
                gradient.shape == shape, "backward: gradient \(gradient.shape) for a result \(shape)")
        }
        withoutGradients {
            node.accumulate(gradient?.detached() ?? .ones(shape))
            GradientNode.propagate(from: [node])
        }
    }

    /// A custom differentiable operation.
    ///
    /// - Parameters:
    ///   - name: the name in error messages.
    ///   - inputs: the tensors that `output` was computed from.
    ///   - output: the result, computed by the caller, off the tape.
    ///   - backward: maps the gradient of the output to one gradient per input (nil: none), each of its input's shape.
    /// - Returns: `output`, on the tape when gradients are on and an input is.
    public static func custom(
        _ name: StaticString, inputs: [Tensor], output: Tensor, backward: @escaping (Tensor) -> [Tensor?]
    ) -> Tensor {
        customInPlace(name, inputs: inputs, output: output) { gradient in backward(gradient) }
    }

    /// A custom differentiable operation whose backward function may overwrite the gradient that it receives.
    ///
    /// - Parameters:
    ///   - name: the name in error messages.
    ///   - inputs: the tensors that `output` was computed from.
    ///   - output: the result, computed by the caller, off the tape.
    ///   - backward: as for `custom`; if the gradient `isUniquelyOwned()`, its memory may be reused for a result.
    /// - Returns: `output`, on the tape when gradients are on and an input is.
    package static func customInPlace(
        _ name: StaticString, inputs: [Tensor], output: Tensor,
        backward: @escaping (inout Tensor) -> [Tensor?]
    ) -> Tensor {
        guard GradientMode.isEnabled, inputs.contains(where: { $0.node != nil }) else { return output }
        var result = output.detached()
        let shapes = inputs.map(\.shape)
        result.node = GradientNode(inputs: inputs.map(\.node)) { gradient in
            let gradients = backward(&gradient)
            precondition(
                gradients.count == shapes.count
                    && zip(gradients, shapes).allSatisfy { $0 == nil || $0?.shape == $1 },
                "\(name): gradients \(gradients.map { $0?.shape }) for inputs \(shapes)")
            return gradients
        }
        return result
    }
}
