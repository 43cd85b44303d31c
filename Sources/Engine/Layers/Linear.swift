// SPDX-License-Identifier: Apache-2.0
// Fully connected layer, as torch.nn.Linear: y = x Wᵀ + b.
// IC input channels, OC output channels.

import Tensors

/// A matrix product over the last axis, with keys `weight` `[OC, IC]` and `bias` `[OC]`.
public final class Linear: AdaptableLayer {
    public let path: String
    public var weight: any WeightSource {
        didSet { preconditionSameShape(path, oldValue, weight) }
    }
    public let bias: Parameter?
    public var branch: LowRankBranch? {
        didSet { preconditionFits(path, branch, weight) }
    }

    /// Reads `weight` and, where `bias` is true, `bias` below `parameters`.
    ///
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(_ parameters: ParameterPath, in inputs: Int, out outputs: Int, bias: Bool = true) throws {
        path = parameters.path
        weight = try parameters.weight(
            "weight", shape: [outputs, inputs], initializer: .gaussianFanIn(inputs))
        self.bias =
            bias
            ? try parameters.unregisteredParameter("bias", shape: [outputs], initializer: .zeros) : nil
        parameters.store.register(self)
    }

    /// `x` `[..., IC]` -> `[..., OC]`, plus `residual` of the output's shape.
    public func callAsFunction(_ x: Tensor, residual: Tensor? = nil) -> Tensor {
        let result = product(x, residual)
        guard let branch else { return result }
        return linear(linear(x, weight: branch.down, bias: nil), weight: branch.up, bias: nil, residual: result)
    }

    private func product(_ x: Tensor, _ residual: Tensor?) -> Tensor {
        let bias = bias?.tensor()
        if let integer = weight.integer, !needsGradient(x, bias, residual) {
            return linear(x, weight: integer, bias: bias, residual: residual)
        }
        return linear(x, weight: weight.lazyTensor(), bias: bias, residual: residual)
    }
}

/// Whether an operation on these tensors is recorded for a backward pass.
func needsGradient(_ tensors: Tensor?...) -> Bool { tensors.contains { $0?.requiresGradient == true } }

/// Traps when a layer is given a weight of another shape than the one it was built with.
func preconditionSameShape(_ path: String, _ old: any WeightSource, _ new: any WeightSource) {
    precondition(
        new.shape == old.shape, "\(path): a weight of shape \(new.shape) cannot replace one of \(old.shape)")
}
