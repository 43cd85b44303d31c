// SPDX-License-Identifier: Apache-2.0
// What users see of differentiation: `backward`, `detached` and own operations.

extension Tensor {
    /// True when a trainable parameter lies below this tensor on the tape.
    public var requiresGradient: Bool { node != nil }

    /// The same values off the tape.
    public func detached() -> Tensor { Tensor(storage: storage, offset: offset, shape: shape) }

    /// Adds d(self)/d(parameter), weighted with `gradient`, to every trainable parameter below.
    ///
    /// The tape is used up: activations are freed as the pass goes, and a second call on the same result traps.
    ///
    /// - Parameter gradient: the shape of `self`; nil stands for ones, as for a scalar loss.
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

    /// An own differentiable operation.
    ///
    /// - Parameters:
    ///   - name: what messages call it.
    ///   - inputs: what `output` was computed from.
    ///   - output: the result, computed by the caller, off the tape.
    ///   - backward: from the gradient of the output, one gradient per input (nil: none), each of its input's shape.
    /// - Returns: `output`, on the tape when gradients are on and an input is.
    public static func custom(
        _ name: StaticString, inputs: [Tensor], output: Tensor, backward: @escaping (Tensor) -> [Tensor?]
    ) -> Tensor {
        customInPlace(name, inputs: inputs, output: output) { gradient in backward(gradient) }
    }

    /// An own differentiable operation whose backward pass may write over the gradient that it is given.
    ///
    /// - Parameters:
    ///   - name: what messages call it.
    ///   - inputs: what `output` was computed from.
    ///   - output: the result, computed by the caller, off the tape.
    ///   - backward: as above; where the gradient `isUniquelyOwned()`, its memory may become one of the results.
    /// - Returns: `output`, on the tape when gradients are on and an input is.
    package static func customInPlace(
        _ name: StaticString, inputs: [Tensor], output: Tensor,
        backward: @escaping (inout Tensor) -> [Tensor?]
    ) -> Tensor {
        guard GradientMode.isEnabled, inputs.contains(where: { $0.node != nil }) else { return output }
        var result = output.detached()
        let shapes = inputs.map(\.shape)
        result.node = GradientNode(inputs: inputs.map(\.node)) { gradient in
            let shares = backward(&gradient)
            precondition(
                shares.count == shapes.count
                    && zip(shares, shapes).allSatisfy { $0 == nil || $0?.shape == $1 },
                "\(name): gradients \(shares.map { $0?.shape }) for inputs \(shapes)")
            return shares
        }
        return result
    }
}
