// SPDX-License-Identifier: Apache-2.0
// The kinds of weight that a layer can hold.

/// The weight of a layer: a dense parameter, or a 16-bit, fake-quantized or packed weight.
public protocol WeightSource: AnyObject, Sendable {
    /// `[OC, IC]` or `[OC, IC, KH, KW]`.
    var shape: [Int] { get }
    /// The dense Float32 weight, on the tape if it has trainable parameters.
    func tensor() -> Tensor
    /// The dense weight for a single operation; its rows may be computed when the operation reads them. The underlying
    /// parameters must not change before the backward pass of the operation has ended.
    func lazyTensor() -> Tensor
    /// Low-bit codes for products with int8 activations (inference only); nil if the weight has no codes or if float
    /// computation is selected.
    var integer: IntegerWeight? { get }
    /// The trainable leaves of the weight; empty for frozen formats.
    var parameters: [Parameter] { get }
}

extension WeightSource {
    public func lazyTensor() -> Tensor { tensor() }
    public var integer: IntegerWeight? { nil }
}

extension Parameter: WeightSource {
    public var parameters: [Parameter] { [self] }
}
