// SPDX-License-Identifier: Apache-2.0
// The exponential moving average of weights, which gives better samples than the weights (Ho et al. 2020).

import Tensors

/// An exponential moving average of parameters.
public final class ExponentialMovingAverage {
    /// The share of the previous average that a step keeps, after the warm-up.
    public let decay: Float
    public let parameters: [Parameter]
    /// The averages by parameter name.
    public private(set) var averages: [String: Tensor]

    public init(of parameters: [Parameter], decay: Float) {
        precondition(decay >= 0 && decay < 1, "moving average: decay \(decay) is not in 0..<1")
        self.decay = decay
        self.parameters = parameters
        averages = Dictionary(uniqueKeysWithValues: parameters.map { ($0.name, $0.value.copied()) })
    }

    /// The share of the current values in the average of step `step`, from 0. It is larger in early steps: the decay is
    /// min(decay, (1 + t) / (10 + t)). `AdamW.update` applies it.
    func rate(step: Int) -> Float { 1 - min(decay, Float(1 + step) / Float(10 + step)) }

    /// Adds the current values to the averages, which `AdamW.update` otherwise does in its pass.
    ///
    /// - Parameter step: the step, from 0.
    public func update(step: Int) {
        let rate = rate(step: step)
        for parameter in parameters {
            guard let average = averages[parameter.name] else { continue }
            let (values, target) = (parameter.value.pointer, average.mutablePointer)
            Threads.parallelFor(average.count, grain: 1 << 15) { range in
                kernels.lerp(target + range.lowerBound, values + range.lowerBound, rate, range.count)
            }
        }
    }

    /// Sets the average of a parameter to a stored one.
    package func restore(_ name: String, _ average: Tensor) {
        precondition(
            averages[name]?.shape == average.shape,
            "moving average: \(average.shape) does not belong to \(name)")
        averages[name] = average
    }

    /// Runs `body` with the averages as values of the parameters, then restores the values.
    public func withAverages<R>(_ body: () throws -> R) rethrows -> R {
        let values = parameters.map(\.value)
        for parameter in parameters { parameter.value = averages[parameter.name] ?? parameter.value }
        defer { for (parameter, value) in zip(parameters, values) { parameter.value = value } }
        return try body()
    }
}
