// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101). Matches torch.optim.AdamW. One pass over all gradients computes
// their norm; one pass over all parameters clips, updates moments and values, and updates their average.

import CKernels
import Tensors

/// Parameters with the same learning rate and weight decay.
public struct ParameterGroup {
    public let parameters: [Parameter]
    /// Peak learning rate, multiplied by the schedule's factor.
    public let learningRate: Float
    public let weightDecay: Float
    /// Lower bound of the values: smaller values are set to it after a step (projected gradient descent); nil: none.
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

/// AdamW over parameter groups. Values and moments are updated in place.
///
/// Moments in bfloat16 are rounded stochastically. With rounding to nearest the second moment would not change: with
/// beta2 = 0.999 an update moves it by a thousandth, and the relative distance to adjacent values is 1/256 to 1/128.
/// Stochastic rounding keeps the mean of Float32 and adds noise with a relative standard deviation below
/// 2^-8 / √(2 (1 - beta2)): 9 % for 0.999, half of that in the step. The random bits are a function of seed, update,
/// parameter and element.
public final class AdamW {
    public let groups: [ParameterGroup]
    public let beta1: Float
    public let beta2: Float
    public let epsilon: Float
    /// Float32 or bfloat16.
    public let momentType: ElementType
    /// Number of updates so far, for the bias correction of the moments.
    public package(set) var updates = 0
    /// Moments by parameter name.
    package private(set) var moments: [String: OptimizerMoments] = [:]

    /// The elements that this process updates; nil for all.
    package let shards: OptimizerShards?

    private let seed: UInt64
    private let slots: [Slot]
    /// The chunks of all parameters, and the indices of those that this process updates.
    private let chunks: [AdamWChunk]
    private let ownChunks: [Int]

    /// A parameter, its group and the stream of its random bits.
    private struct Slot {
        let parameter: Parameter
        let group: Int
        let stream: UInt64
        /// The elements that this process updates: those of its moments and its gradient.
        var own: Range<Int>

        init(_ parameter: Parameter, group: Int) {
            self.parameter = parameter
            self.group = group
            stream = fnv1a(parameter.name)
            own = 0..<parameter.value.count
        }
    }

    /// - Parameters:
    ///   - groups: a parameter must not be in two groups.
    ///   - beta1: of the first moment, 0 ..< 1.
    ///   - beta2: of the second moment, 0 ..< 1.
    ///   - epsilon: added to the root of the second moment.
    ///   - momentType: Float32 or bfloat16.
    ///   - seed: of the random bits for rounding bfloat16 moments.
    ///   - shards: the elements that this process updates; nil for all. Gradients then have this process's elements
    ///     only, shape `[elements]`, and the values of others come from their processes.
    public init(
        _ groups: [ParameterGroup], beta1: Float = 0.9, beta2: Float = 0.99, epsilon: Float = 1e-8,
        momentType: ElementType = .float32, seed: UInt64 = 0, shards: OptimizerShards? = nil
    ) {
        precondition(momentType != .float16, "AdamW: the range of float16 is too small for second moments")
        self.groups = groups
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.momentType = momentType
        self.seed = seed
        self.shards = shards
        var slots = groups.enumerated().flatMap { index, group in
            group.parameters.map { Slot($0, group: index) }
        }
        for (index, own) in (shards?.own ?? []).enumerated() { slots[index].own = own }
        let chunks = AdamWChunk.cut(slots.map { $0.parameter.value.count })
        ownChunks = chunks.indices.filter { slots[chunks[$0].slot].own.contains(chunks[$0].elements.lowerBound) }
        (self.slots, self.chunks) = (slots, chunks)
        for slot in slots {
            let parameter = slot.parameter
            precondition(
                moments[parameter.name] == nil, "AdamW: parameter \(parameter.name) is in two groups")
            moments[parameter.name] = OptimizerMoments(
                zeros: shards == nil ? parameter.shape : [slot.own.count], type: momentType)
        }
    }

    /// The norm of all gradients, √Σ g². Bit-equal for any number of threads and processes; infinite if a square
    /// overflows.
    ///
    /// - Parameter exchange: adds up values of all processes, with shards.
    /// - Returns: the norm.
    /// - Throws: what `exchange` throws.
    private func gradientNorm(exchange: (inout [Int64]) throws -> Void) rethrows -> Float {
        let gradients = slots.map(\.parameter.gradient)
        var sums = [Double](repeating: 0, count: chunks.count)
        sums.withUnsafeMutableBufferPointer { sums in
            nonisolated(unsafe) let sums = sums
            Threads.parallelFor(ownChunks.count) { range in
                for index in ownChunks[range] {
                    let chunk = chunks[index]
                    guard let gradient = gradients[chunk.slot] else { continue }
                    sums[index] = chunk.squaredSum(gradient, from: slots[chunk.slot].own.lowerBound)
                }
            }
        }
        if shards != nil {
            // Every sum comes from one process, and is 0 in all others.
            var patterns = sums.map { Int64(bitPattern: $0.bitPattern) }
            try exchange(&patterns)
            sums = patterns.map { Double(bitPattern: UInt64(bitPattern: $0)) }
        }
        return Float(pairwiseSum(sums[...]).squareRoot())
    }

    /// Removes the gradients of all parameters.
    package func dropGradients() {
        for slot in slots { slot.parameter.gradient = nil }
    }

    /// Updates all parameters from their gradients, which are removed. Parameters without a gradient do not change.
    /// Nothing changes if the norm of the gradients is not finite.
    ///
    /// - Parameters:
    ///   - factor: multiplies the learning rate of every group.
    ///   - maximumNorm: gradients with a larger norm are scaled down to it; nil: no clipping.
    ///   - average: updated with the new values in the same pass. Its parameters are those of this optimizer.
    ///   - step: the step, from 0, that decides the decay of the average.
    /// - Returns: the gradient norm before clipping.
    @discardableResult
    public func update(
        factor: Float, maximumNorm: Float?, average: ExponentialMovingAverage? = nil, step: Int = 0
    ) -> Float {
        update(factor: factor, maximumNorm: maximumNorm, average: average, step: step, exchange: { _ in })
    }

    /// As `update(factor:maximumNorm:average:step:)`, in one of several processes.
    ///
    /// - Parameters:
    ///   - factor: as above.
    ///   - maximumNorm: as above.
    ///   - average: as above; nil with shards.
    ///   - step: as above.
    ///   - exchange: adds up values of all processes, with shards.
    /// - Returns: the gradient norm before clipping.
    /// - Throws: what `exchange` throws.
    @discardableResult
    public func update(
        factor: Float, maximumNorm: Float?, average: ExponentialMovingAverage?, step: Int,
        exchange: (inout [Int64]) throws -> Void
    ) rethrows -> Float {
        let norm = try gradientNorm(exchange: exchange)
        guard norm.isFinite else { return norm }
        updates += 1
        let scale = maximumNorm.map { norm > $0 ? $0 / (norm + 1e-6) : 1 } ?? 1
        let corrections = (1 / (1 - power(beta1, updates)), 1 / (1 - power(beta2, updates)))
        let work = slots.map { slot in
            let group = groups[slot.group]
            return AdamWWork(
                slot.parameter, slot.own, moments[slot.parameter.name], average?.averages[slot.parameter.name],
                bf_adamw(
                    learning_rate: group.learningRate * factor, beta1: beta1, beta2: beta2, epsilon: epsilon,
                    weight_decay: group.weightDecay, correction1: corrections.0, correction2: corrections.1,
                    gradient_scale: scale, minimum: group.minimum ?? -.infinity,
                    average_rate: average?.rate(step: step) ?? 0),
                bf_rounding(seed: seed, stream: slot.stream, update: UInt32(truncatingIfNeeded: updates)))
        }
        Threads.parallelFor(ownChunks.count) { range in
            for index in ownChunks[range] { work[chunks[index].slot].run(chunks[index].elements) }
        }
        dropGradients()
        return norm
    }

    /// Sets the moments of a parameter to copies of stored ones.
    ///
    /// - Precondition: they have the parameter's shape.
    package func restore(_ name: String, first: Tensor, second: Tensor) {
        let slot = slots.first { $0.parameter.name == name }
        precondition(
            slot?.parameter.shape == first.shape && first.shape == second.shape,
            "AdamW: moments \(first.shape) do not belong to \(name)")
        guard let slot, shards != nil else {
            moments[name] = moments[name]?.replaced(first: first, second: second)
            return
        }
        let (start, shape) = (slot.own.lowerBound, [slot.own.count])
        moments[name] = moments[name]?.replaced(
            first: first.part(from: start, shape: shape), second: second.part(from: start, shape: shape))
    }

    /// A moment of all elements of a parameter, collected from all processes.
    ///
    /// - Parameters:
    ///   - moment: the moment to collect.
    ///   - slot: the index of the parameter.
    ///   - share: sends part r of the values from process r to all others.
    /// - Returns: the values in Float32, in the parameter's shape.
    /// - Throws: what `share` throws.
    package func collected(
        _ moment: KeyPath<OptimizerMoments, Tensor>, _ slot: Int,
        share: (UnsafeMutableBufferPointer<Int32>, _ counts: [Int]) throws -> Void
    ) throws -> Tensor? {
        let (parameter, own) = (slots[slot].parameter, slots[slot].own)
        guard let values = moments[parameter.name]?[keyPath: moment], let shards else { return nil }
        let all = Tensor(unsafeUninitialized: parameter.shape)
        (all.pointer + own.lowerBound).update(from: values.pointer, count: own.count)
        try all.pointer.withMemoryRebound(to: Int32.self, capacity: all.count) {
            try share(UnsafeMutableBufferPointer(start: $0, count: all.count), shards.counts(slot))
        }
        return all
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

/// A pairwise sum: the rounding error grows with log n, and the order depends on n alone.
private func pairwiseSum(_ terms: ArraySlice<Double>) -> Double {
    if terms.count <= 8 { return terms.reduce(0, +) }
    let middle = terms.startIndex + terms.count / 2
    return pairwiseSum(terms[..<middle]) + pairwiseSum(terms[middle...])
}
