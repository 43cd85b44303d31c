// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), as torch.optim.AdamW, with the gradient clipped by its global
// norm in the same pass.

import CKernels
import Tensors

/// Parameters that share a learning rate.
public struct ParameterGroup {
    public let parameters: [Parameter]
    /// Peak learning rate of the group; the schedule's factor multiplies it.
    public let learningRate: Float
    public let weightDecay: Float
    /// Values that a step carries below this are put back to it (projected steps); nil: values are free.
    public let minimum: Float?

    public init(
        _ parameters: [Parameter], learningRate: Float, weightDecay: Float = 0, minimum: Float? = nil
    ) {
        self.parameters = parameters
        self.learningRate = learningRate
        self.weightDecay = weightDecay
        self.minimum = minimum
    }
}

/// AdamW over parameter groups; values and moments are updated in place.
public final class AdamW {
    public let groups: [ParameterGroup]
    public let beta1: Float
    public let beta2: Float
    public let epsilon: Float
    /// Updates done so far; corrects the bias of the moments.
    public internal(set) var updates = 0
    /// First and second moments by parameter name.
    private(set) var moments: [String: (first: Tensor, second: Tensor)] = [:]

    public init(_ groups: [ParameterGroup], beta1: Float = 0.9, beta2: Float = 0.99, epsilon: Float = 1e-8) {
        self.groups = groups
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        for parameter in groups.flatMap(\.parameters) {
            precondition(
                moments[parameter.name] == nil, "AdamW: parameter \(parameter.name) is in two groups")
            moments[parameter.name] = (.zeros(parameter.shape), .zeros(parameter.shape))
        }
    }

    /// The norm of all gradients together, √Σ g².
    public func gradientNorm() -> Float {
        var total = 0.0
        for parameter in groups.flatMap(\.parameters) {
            guard let gradient = parameter.gradient else { continue }
            total += Double(gradient.square().sum().item)
        }
        return Float(total.squareRoot())
    }

    /// Forgets the gradients of all parameters.
    func dropGradients() {
        for parameter in groups.flatMap(\.parameters) { parameter.gradient = nil }
    }

    /// One update from the gradients, which are dropped; parameters without a gradient stay. Nothing happens where the
    /// gradients' norm is not finite.
    ///
    /// - Parameters:
    ///   - factor: of every group's learning rate.
    ///   - maximumNorm: gradients with a larger norm are scaled down to it; nil: never.
    /// - Returns: the gradient norm before clipping.
    @discardableResult
    public func update(factor: Float, maximumNorm: Float?) -> Float {
        let norm = withoutGradients { gradientNorm() }
        guard norm.isFinite else { return norm }
        updates += 1
        let scale = maximumNorm.map { norm > $0 ? $0 / (norm + 1e-6) : 1 } ?? 1
        let correction1 = 1 / (1 - pow(beta1, updates)), correction2 = 1 / (1 - pow(beta2, updates))
        for group in groups {
            for parameter in group.parameters {
                guard let gradient = parameter.gradient, let moment = moments[parameter.name] else {
                    continue
                }
                apply(
                    gradient, to: parameter, moment, learningRate: group.learningRate * factor,
                    weightDecay: group.weightDecay, corrections: (correction1, correction2), scale: scale)
                parameter.gradient = nil
                if let minimum = group.minimum { parameter.raise(to: minimum) }
            }
        }
        return norm
    }

    /// Puts stored moments in place.
    ///
    /// - Precondition: they have the parameter's shape.
    func restore(_ name: String, first: Tensor, second: Tensor) {
        precondition(
            moments[name]?.first.shape == first.shape && first.shape == second.shape,
            "AdamW: moments \(first.shape) do not belong to \(name)")
        moments[name] = (first, second)
    }

    private func apply(
        _ gradient: Tensor, to parameter: Parameter, _ moment: (first: Tensor, second: Tensor),
        learningRate: Float,
        weightDecay: Float, corrections: (Float, Float), scale: Float
    ) {
        parameter.value.withUnsafeMutableBufferPointer { values in
            gradient.withUnsafeBufferPointer { gradients in
                moment.first.withUnsafeMutableBufferPointer { first in
                    moment.second.withUnsafeMutableBufferPointer { second in
                        guard let w = values.baseAddress, let g = gradients.baseAddress,
                            let m = first.baseAddress,
                            let v = second.baseAddress
                        else { return }
                        Threads.parallelFor(values.count, grain: 1 << 15) { range in
                            let at = range.lowerBound
                            kernels.adamw(
                                w + at, g + at, m + at, v + at, range.count, learningRate, beta1, beta2,
                                epsilon,
                                weightDecay, corrections.0, corrections.1, scale)
                        }
                    }
                }
            }
        }
    }

    private func pow(_ base: Float, _ exponent: Int) -> Float {
        var (result, factor, rest) = (1.0, Double(base), exponent)
        while rest > 0 {
            if rest & 1 == 1 { result *= factor }
            factor *= factor
            rest >>= 1
        }
        return Float(result)
    }
}

extension Parameter {
    /// Puts values below `minimum` back to it, in place.
    fileprivate func raise(to minimum: Float) {
        value.withUnsafeMutableBufferPointer { values in
            for index in values.indices where values[index] < minimum { values[index] = minimum }
        }
    }
}
