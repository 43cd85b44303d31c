// SPDX-License-Identifier: Apache-2.0
// The gradients of one step, computed by all processes of the run. They are bit-equal for any number of processes.

import Communication
import Optimizers
import Tensors

/// The loss of a step's batch.
struct StepResult {
    var loss: Float = 0
    var parts: [String: Float] = [:]
    /// Of this process.
    var dataSeconds = 0.0

    mutating func add(_ loss: Float, _ parts: [String: Float], share: Float) {
        self.loss += share * loss
        for (name, part) in parts { self.parts[name, default: 0] += share * part }
    }
}

/// Computes the gradients of steps.
struct StepGradients {
    typealias Objective = (MicroBatch, inout Philox) throws -> StepLoss

    let microBatches: MicroBatches
    let seed: UInt64
    let precision: ElementType
    let communicator: any Communicator
    /// nil where a step has one micro-batch, whose gradients need no sum.
    let accumulator: GradientAccumulator?

    /// - Parameters:
    ///   - options: batches and seed.
    ///   - parameters: those that get gradients.
    ///   - communicator: the processes of the run.
    ///   - isDivided: whether every process needs only the gradients of its own elements.
    init(
        _ options: TrainingOptions, of parameters: [Parameter], communicator: any Communicator, isDivided: Bool
    ) {
        microBatches = MicroBatches(options)
        seed = options.seed
        precision = options.precision ?? .float32
        self.communicator = communicator
        let process = (communicator.rank, communicator.size)
        accumulator =
            microBatches.count > 1
            ? GradientAccumulator(parameters, dividedAmong: isDivided && communicator.size > 1 ? process : nil) : nil
    }

    /// Sets the gradients of all parameters to those of the mean loss over the batch of `step`.
    ///
    /// - Returns: the loss; nil if a gradient is not finite, where the gradients are not set.
    /// - Throws: what `objective` throws; `PeerFailure`.
    func compute(step: Int, _ objective: Objective) throws -> StepResult? {
        guard let accumulator else {
            var result = StepResult()
            let loss = try differentiate(0, step: step, objective)
            result.add(loss.total.item, loss.parts, share: 1)
            result.dataSeconds = loss.dataSeconds
            return result.loss.isFinite ? result : nil
        }
        if accumulator.needsCalibration {
            // Computed by every process, so that all choose the same exponents.
            _ = try accumulator.calibrate(microBatches: microBatches.count) {
                try differentiate(0, step: step, objective)
            }
        }
        // An overflow is as rare as a gradient that is 16 times as large as the previous one.
        for _ in 0..<Self.attempts {
            accumulator.reset()
            let losses = try ownLosses(step: step, accumulator, objective)
            var exchanged = accumulator.summary
            let count = exchanged.count
            exchanged += losses.encoded
            try communicator.sum(&exchanged)
            let result = losses.result(exchanged[count...], microBatches)
            switch accumulator.outcome(of: Array(exchanged[..<count])) {
            case .overflow: continue
            case .complete where result.loss.isFinite:
                try accumulator.reduce(reduction)
                accumulator.setGradients()
                return result
            case .complete, .notFinite: return nil
            }
        }
        return nil
    }

    private static let attempts = 16

    /// The backward pass of one micro-batch, with its share of the loss.
    private func differentiate(_ index: Int, step: Int, _ objective: Objective) throws -> StepLoss {
        var random = MicroBatches.random(index, ofStep: step, seed: seed)
        return try withProductPrecision(precision) {
            let loss = try objective(microBatches.batch(index, ofStep: step), &random)
            let share = microBatches.share(index)
            (share == 1 ? loss.total : loss.total * share).backward()
            return loss
        }
    }

    private func ownLosses(
        step: Int, _ accumulator: GradientAccumulator, _ objective: Objective
    ) throws -> MicroBatchLosses {
        var losses = MicroBatchLosses(count: microBatches.count)
        for index in microBatches.indices(of: communicator.rank, processes: communicator.size) {
            let isLast = index + communicator.size >= microBatches.count
            losses.set(
                index,
                try accumulator.adding(reducing: isLast ? reduction : nil) {
                    try differentiate(index, step: step, objective)
                })
        }
        return losses
    }

    private func reduction(_ sums: UnsafeMutableBufferPointer<Int32>, _ counts: [Int]?) throws {
        if let counts {
            try communicator.sum(sums, parts: counts)
        } else {
            try communicator.sum(sums)
        }
    }
}

/// The losses of the micro-batches of one step, of which a process has some.
private struct MicroBatchLosses {
    private var own: [StepLossValues?]
    private var dataSeconds = 0.0

    private struct StepLossValues {
        let loss: Float
        let parts: [String: Float]
    }

    init(count: Int) { own = Array(repeating: nil, count: count) }

    mutating func set(_ index: Int, _ loss: StepLoss) {
        own[index] = StepLossValues(loss: loss.total.item, parts: loss.parts)
        dataSeconds += loss.dataSeconds
    }

    /// The names of the parts, the same for all micro-batches.
    private var names: [String] { own.lazy.compactMap { $0?.parts.keys.sorted() }.first ?? [] }

    /// Bit patterns, with 0 for micro-batches of other processes, so that sums over processes are the patterns.
    var encoded: [Int64] {
        let names = names
        return own.flatMap { values -> [Int64] in
            guard let values else { return Array(repeating: 0, count: 1 + names.count) }
            return ([values.loss] + names.map { values.parts[$0] ?? 0 }).map { Int64($0.bitPattern) }
        }
    }

    /// The means over all samples of the step, summed in the order of the micro-batches.
    func result(_ exchanged: ArraySlice<Int64>, _ microBatches: MicroBatches) -> StepResult {
        let names = names
        var result = StepResult(), next = exchanged.startIndex
        func value() -> Float {
            defer { next += 1 }
            return Float(bitPattern: UInt32(truncatingIfNeeded: exchanged[next]))
        }
        for index in own.indices {
            let loss = value()
            let parts = names.map { ($0, value()) }
            result.add(loss, Dictionary(uniqueKeysWithValues: parts), share: microBatches.share(index))
        }
        result.dataSeconds = dataSeconds
        return result
    }
}
