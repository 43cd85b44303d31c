// SPDX-License-Identifier: Apache-2.0
// Leaves of the tape, and what a layer may hold as its weight.

/// What a layer multiplies with: a dense parameter, a half-precision, a fake-quantized or a packed weight.
public protocol WeightSource: AnyObject, Sendable {
    /// `[OC, IC]` or `[OC, IC, KH, KW]`.
    var shape: [Int] { get }
    /// The dense Float32 weight, on the tape where it has trainable parameters.
    func tensor() -> Tensor
    /// The same for one operation now: its values may be made as that reads them, and must not have changed until its
    /// backward pass has ended.
    func lazyTensor() -> Tensor
    /// Codes that meet activations in int8, where the weight holds some and is to be computed with so; for operations that
    /// nobody asks gradients of.
    var integer: IntegerWeight? { get }
    /// The trainable leaves behind the weight; empty for frozen formats.
    var parameters: [Parameter] { get }
}

extension WeightSource {
    public func lazyTensor() -> Tensor { tensor() }
    public var integer: IntegerWeight? { nil }
}

/// A named leaf: trainable or frozen; optimizers replace its value in place.
public final class Parameter: WeightSource, @unchecked Sendable {
    /// The checkpoint key, diffusers' own, e.g. `down_blocks.0.resnets.0.conv1.weight`.
    public let name: String
    /// The plain value.
    public var value: Tensor {
        didSet {
            precondition(value.shape == oldValue.shape, "\(name): \(value.shape) replaces \(oldValue.shape)")
            if value.requiresGradient { value = value.detached() }
            value.keepsPrepackedForms()
        }
    }
    /// What `backward` has added up since it was last set to nil.
    public var gradient: Tensor?
    /// Frozen parameters stay off the tape.
    public var isTrainable: Bool

    public init(_ name: String, _ value: Tensor, isTrainable: Bool = true) {
        self.name = name
        self.value = value.detached()
        self.isTrainable = isTrainable
        self.value.keepsPrepackedForms()
    }

    public var shape: [Int] { value.shape }
    public var parameters: [Parameter] { [self] }

    public func tensor() -> Tensor {
        guard isTrainable, GradientMode.isEnabled else { return value }
        var leaf = value
        leaf.node = GradientNode(leaf: self)
        return leaf
    }

    func accumulate(_ incoming: Tensor) { gradient.accumulate(incoming) }
}
