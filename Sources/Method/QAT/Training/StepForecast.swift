// SPDX-License-Identifier: Apache-2.0
// The time of a training step, from some of its micro-batches and one update that are computed as in training.

import Foundation
import Tensors

/// The measured parts of a step, and their sum for a complete batch.
public struct StepForecast: Hashable, Sendable {
    /// Seconds of loss and backward pass of each measured micro-batch.
    public let microBatchSeconds: [Double]
    /// Seconds of one update of all parameters.
    public let updateSeconds: Double
    /// Micro-batches of a step; a fraction where the last one is smaller.
    public let microBatches: Double

    /// The mean of `microBatchSeconds`.
    public var microBatchMean: Double { microBatchSeconds.reduce(0, +) / Double(max(microBatchSeconds.count, 1)) }

    /// Seconds of a step: the mean of the measured micro-batches times their number, and the update.
    public var stepSeconds: Double { microBatchMean * microBatches + updateSeconds }
}

extension TrainingLoop {
    /// Measures one micro-batch that does not count, then `limit` micro-batches and an update. The update before the
    /// first measured micro-batch allocates what an update needs.
    ///
    /// - Throws: `TrainingError.diverged`, and what `objective` throws.
    func forecast(
        microBatches limit: Int, objective: (MicroBatch, inout Philox) throws -> StepLoss, shouldStop: () -> Bool
    ) throws -> StepForecast? {
        let clock = ContinuousClock(), accumulator = gradients.accumulator
        func backward(_ index: Int) throws -> Double {
            let start = clock.now
            var random = MicroBatches.random(index, ofStep: step, seed: options.seed)
            let samples = index * gradients.microBatches.size..<(index + 1) * gradients.microBatches.size
            try withProductPrecision(gradients.precision) {
                let loss = try objective(MicroBatch(step: step, samples: samples), &random)
                if let accumulator {
                    try accumulator.adding { loss.total.backward() }
                } else {
                    loss.total.backward()
                }
            }
            return (clock.now - start) / .seconds(1)
        }
        func update() throws -> Double {
            let start = clock.now
            if let accumulator {
                guard accumulator.outcome(of: accumulator.summary) != .notFinite else {
                    throw TrainingError.diverged(step: step, learningRate: options.learningRate)
                }
                accumulator.setGradients()
                accumulator.reset()
            }
            let norm = optimizer.update(
                factor: options.schedule.factor(step: step, of: options.steps),
                maximumNorm: options.maximumGradientNorm, average: average, step: step)
            guard norm.isFinite else {
                optimizer.dropGradients()
                throw TrainingError.diverged(step: step, learningRate: options.learningRate)
            }
            return (clock.now - start) / .seconds(1)
        }
        _ = try backward(0)
        _ = try update()
        var seconds: [Double] = []
        for index in 1...max(limit, 1) {
            guard !shouldStop() else { return nil }
            seconds.append(try backward(index))
        }
        return StepForecast(
            microBatchSeconds: seconds, updateSeconds: try update(),
            microBatches: Double(options.batchSize) / Double(gradients.microBatches.size))
    }
}

extension Trainer {
    /// Measures the time of a step on the run's own data. The weights change: the trainer is of no use afterwards, and
    /// nothing should be written with it.
    ///
    /// - Parameters:
    ///   - microBatches: the number of micro-batches to measure, after one that does not count.
    ///   - shouldStop: called before each of them.
    /// - Returns: nil when stopped.
    /// - Throws: `TrainingError.diverged`, and what the data throws.
    public func forecast(
        microBatches: Int = 3, shouldStop: () -> Bool = { false }
    ) throws -> StepForecast? {
        try loop.forecast(
            microBatches: microBatches, objective: { part, random in try loss(of: part, random: &random) },
            shouldStop: shouldStop)
    }
}
