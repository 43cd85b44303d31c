// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), as torch.optim.AdamW: one pass over all gradients for their norm,
// and one over all parameters that clips, updates moments and values, and moves their average.

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
///
/// Moments in bfloat16 are rounded stochastically. Rounded to nearest, the second one would stall: with beta2 = 0.999 an
/// update moves it by a thousandth, and its neighbours are 1/256 to 1/128 of it away. Stochastic rounding leaves its mean
/// what it is in Float32 and adds noise, whose relative standard deviation settles below 2^-8 / √(2 (1 - beta2)): 9 % for
/// 0.999, half of that in the step. The random bits are a function of seed, update, parameter and element.
public final class AdamW {
    public let groups: [ParameterGroup]
    public let beta1: Float
    public let beta2: Float
    public let epsilon: Float
    /// Float32 or bfloat16.
    public let momentType: ElementType
    /// Updates done so far; corrects the bias of the moments.
    public package(set) var updates = 0
    /// Moments by parameter name.
    package private(set) var moments: [String: OptimizerMoments] = [:]

    private let seed: UInt64
    private let slots: [Slot]
    private let chunks: [AdamWChunk]

    /// A parameter, its group and the stream of its random bits.
    private struct Slot {
        let parameter: Parameter
        let group: Int
        let stream: UInt64
    }

    /// - Parameters:
    ///   - groups: each parameter in one of them.
    ///   - beta1: of the first moment, 0 ..< 1.
    ///   - beta2: of the second moment, 0 ..< 1.
    ///   - epsilon: added to the root of the second moment.
    ///   - momentType: Float32 or bfloat16.
    ///   - seed: of the random bits that bfloat16 moments are rounded with.
    public init(
        _ groups: [ParameterGroup], beta1: Float = 0.9, beta2: Float = 0.99, epsilon: Float = 1e-8,
        momentType: ElementType = .float32, seed: UInt64 = 0
    ) {
        precondition(momentType != .float16, "AdamW: float16 has no room for second moments")
        self.groups = groups
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.momentType = momentType
        self.seed = seed
        slots = groups.enumerated().flatMap { index, group in
            group.parameters.map { Slot(parameter: $0, group: index, stream: fnv1a($0.name)) }
        }
        chunks = AdamWChunk.cut(slots.map { $0.parameter.value.count })
        for parameter in slots.map(\.parameter) {
            precondition(
                moments[parameter.name] == nil, "AdamW: parameter \(parameter.name) is in two groups")
            moments[parameter.name] = OptimizerMoments(zeros: parameter.shape, type: momentType)
        }
    }

    /// The norm of all gradients together, √Σ g²: the same bits for any number of threads; infinite where a square is.
    public func gradientNorm() -> Float {
        let gradients = slots.map(\.parameter.gradient)
        var sums = [Double](repeating: 0, count: chunks.count)
        sums.withUnsafeMutableBufferPointer { sums in
            nonisolated(unsafe) let sums = sums
            Threads.parallelFor(chunks.count) { range in
                for index in range {
                    let chunk = chunks[index]
                    guard let gradient = gradients[chunk.slot] else { continue }
                    sums[index] = chunk.squaredSum(gradient)
                }
            }
        }
        return Float(pairwiseSum(sums[...]).squareRoot())
    }

    /// Forgets the gradients of all parameters.
    package func dropGradients() {
        for slot in slots { slot.parameter.gradient = nil }
    }

    /// One update from the gradients, which are dropped; parameters without a gradient stay. Nothing happens where the
    /// gradients' norm is not finite.
    ///
    /// - Parameters:
    ///   - factor: of every group's learning rate.
    ///   - maximumNorm: gradients with a larger norm are scaled down to it; nil: never.
    ///   - average: takes the new values in, in the same pass; its parameters are this optimizer's.
    ///   - step: the step that the average counts by, from 0.
    /// - Returns: the gradient norm before clipping.
    @discardableResult
    public func update(
        factor: Float, maximumNorm: Float?, average: ExponentialMovingAverage? = nil, step: Int = 0
    ) -> Float {
        let norm = gradientNorm()
        guard norm.isFinite else { return norm }
        updates += 1
        let scale = maximumNorm.map { norm > $0 ? $0 / (norm + 1e-6) : 1 } ?? 1
        let corrections = (1 / (1 - power(beta1, updates)), 1 / (1 - power(beta2, updates)))
        let work = slots.map { slot in
            let group = groups[slot.group]
            return AdamWWork(
                slot.parameter, moments[slot.parameter.name], average?.averages[slot.parameter.name],
                bf_adamw(
                    learning_rate: group.learningRate * factor, beta1: beta1, beta2: beta2, epsilon: epsilon,
                    weight_decay: group.weightDecay, correction1: corrections.0, correction2: corrections.1,
                    gradient_scale: scale, minimum: group.minimum ?? -.infinity,
                    average_rate: average?.rate(step: step) ?? 0),
                bf_rounding(seed: seed, stream: slot.stream, update: UInt32(truncatingIfNeeded: updates)))
        }
        Threads.parallelFor(chunks.count) { range in
            for chunk in chunks[range] { work[chunk.slot].run(chunk.elements) }
        }
        dropGradients()
        return norm
    }

    /// Puts stored moments in place, as copies.
    ///
    /// - Precondition: they have the parameter's shape.
    package func restore(_ name: String, first: Tensor, second: Tensor) {
        precondition(
            moments[name]?.first.shape == first.shape && first.shape == second.shape,
            "AdamW: moments \(first.shape) do not belong to \(name)")
        moments[name] = moments[name]?.replaced(first: first, second: second)
    }
}

/// base^exponent, in double precision.
private func power(_ base: Float, _ exponent: Int) -> Float {
    var (result, factor, rest) = (1.0, Double(base), exponent)
    while rest > 0 {
        if rest & 1 == 1 { result *= factor }
        factor *= factor
        rest >>= 1
    }
    return Float(result)
}

/// A sum whose rounding error grows with log n, in an order that n alone decides.
private func pairwiseSum(_ terms: ArraySlice<Double>) -> Double {
    if terms.count <= 8 { return terms.reduce(0, +) }
    let middle = terms.startIndex + terms.count / 2
    return pairwiseSum(terms[..<middle]) + pairwiseSum(terms[middle...])
}
