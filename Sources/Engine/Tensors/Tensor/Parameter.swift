// SPDX-License-Identifier: Apache-2.0
// Leaves of the tape.

/// A named leaf, trainable or frozen; optimizers update its value in place.
public final class Parameter: @unchecked Sendable {
    /// The checkpoint key as in diffusers, e.g. `down_blocks.0.resnets.0.conv1.weight`.
    public let name: String
    /// The value, off the tape.
    public var value: Tensor {
        didSet {
            precondition(value.shape == oldValue.shape, "\(name): \(value.shape) replaces \(oldValue.shape)")
            if value.requiresGradient { value = value.detached() }
            value.cachesPrepackedForms()
        }
    }
    /// The sum of all gradients since it was last set to nil.
    public var gradient: Tensor?
    /// Receives gradients in the place of `gradient`; nil outside of training with several micro-batches.
    package var gradientReceiver: ((Tensor) -> Void)?
    /// False for frozen parameters, which are not recorded on the tape.
    public var isTrainable: Bool

    public init(_ name: String, _ value: Tensor, isTrainable: Bool = true) {
        self.name = name
        self.value = value.detached()
        self.isTrainable = isTrainable
        self.value.cachesPrepackedForms()
    }

    public var shape: [Int] { value.shape }

    /// The value, on the tape if this parameter is trainable and recording is on.
    public func tensor() -> Tensor {
        guard isTrainable, GradientMode.isEnabled else { return value }
        var leaf = value
        leaf.node = GradientNode(leaf: self)
        return leaf
    }

    func accumulate(_ incoming: Tensor) {
        if let gradientReceiver { return gradientReceiver(incoming) }
        gradient.accumulate(incoming)
    }
}
