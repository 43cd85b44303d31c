// SPDX-License-Identifier: Apache-2.0
// The training loop: draw a batch, differentiate, update, average, report, save. All random numbers of step k come from
// Philox(seed, stream: k), so a resumed run repeats the uninterrupted one.

import Communication
import Files
import Foundation
import Optimizers
import Tensors

/// The loss of one step, or of one part of it.
public struct StepLoss {
    /// The loss that is differentiated, shape `[]`.
    public let total: Tensor
    /// Named parts, for the log; all losses of a run have the same names.
    public let parts: [String: Float]
    /// The time that was spent waiting for the batch, for the log.
    public var dataSeconds = 0.0

    public init(_ total: Tensor, parts: [String: Float] = [:]) {
        self.total = total
        self.parts = parts
    }
}

/// One point of a loss curve: means since the previous point.
public struct LossRecord: Codable, Hashable, Sendable {
    public var step: Int
    public var loss: Float
    public var parts: [String: Float]
    public var gradientNorm: Float
}

/// What a log records of one step.
public struct StepMetrics: Hashable, Sendable {
    /// The number of steps done, from 1.
    public let step: Int
    /// The loss of the step's batch, before its update.
    public let loss: Float
    /// Named parts of the loss.
    public let parts: [String: Float]
    /// Before clipping.
    public let gradientNorm: Float
    /// That of the weights, with the schedule's factor.
    public let learningRate: Float
    /// The time that the step waited for its data, in seconds.
    public var dataSeconds = 0.0
}

/// An error that ends a training run.
public enum TrainingError: Error, Equatable, Sendable {
    /// The loss or a gradient became infinite or NaN.
    case diverged(step: Int, learningRate: Float)
    /// There are more processes than micro-batches.
    case tooManyProcesses(Int, microBatches: Int, batchSize: Int)

    public var description: String {
        switch self {
        case .tooManyProcesses(let processes, let count, let batchSize):
            "training: \(processes) processes share the micro-batches of a step, but a batch of \(batchSize) has "
                + "\(count == 1 ? "only one" : "\(count)"); start fewer processes, or set training.microBatchSize to "
                + "\(max(batchSize / processes, 1)) or less"
        case .diverged(let step, let rate):
            "training: the loss or its gradient at step \(step) is not finite with learning rate \(rate); start again "
                + "with a lower learning rate"
        }
    }
}

/// Parameters, optimizer and average of one run, advanced step by step.
public final class TrainingLoop {
    public let options: TrainingOptions
    public let optimizer: AdamW
    public let average: ExponentialMovingAverage?
    /// Steps done.
    public internal(set) var step = 0
    /// The last step of this process; nil before the first one.
    public private(set) var latest: StepMetrics?
    /// The loss curve so far.
    public internal(set) var history: [LossRecord] = []
    /// Steps between two points of the loss curve.
    public static let recordEvery = 50

    /// The processes of the run.
    public let communicator: any Communicator

    private var pending = LossSums()
    let gradients: StepGradients

    /// - Parameters:
    ///   - options: steps, batches and optimizer.
    ///   - groups: the parameters to train.
    ///   - communicator: the processes that share the micro-batches of every step.
    ///   - shardsOptimizer: whether every process holds the moments and summed gradients of its own elements only. Does
    ///     not change the result.
    public init(
        _ options: TrainingOptions, groups: [ParameterGroup], communicator: any Communicator = SingleProcess(),
        shardsOptimizer: Bool = false
    ) {
        self.options = options
        self.communicator = communicator
        gradients = StepGradients(
            options, of: groups.flatMap(\.parameters), communicator: communicator, isDivided: shardsOptimizer)
        optimizer = AdamW(
            groups, beta1: options.beta1, beta2: options.beta2, momentType: options.momentDtype,
            seed: options.seed, shards: gradients.accumulator?.shards)
        average = options.averageDecay.map {
            ExponentialMovingAverage(of: groups.flatMap(\.parameters), decay: $0)
        }
    }

    /// Runs the remaining steps.
    ///
    /// - Parameters:
    ///   - objective: returns the mean loss over a part of a step's batch. Each part has random numbers of its own.
    ///   - progress: called after every step.
    ///   - save: called every `saveEvery` steps and at the end, in the first process.
    ///   - shouldStop: called after every step. If it returns true in one process, the run ends after a save.
    /// - Returns: true when all steps are done, false when stopped.
    /// - Throws: `TrainingError.diverged`, with the parameters of the previous step, `.tooManyProcesses`; what
    ///   `objective` and `save` throw; `PeerFailure`.
    @discardableResult
    public func run(
        objective: (_ batch: MicroBatch, _ random: inout Philox) throws -> StepLoss,
        progress: (_ done: Int, _ of: Int, _ recent: LossRecord) -> Void = { _, _, _ in },
        save: () throws -> Void = {}, shouldStop: () -> Bool = { false }
    ) throws -> Bool {
        let count = gradients.microBatches.count
        guard communicator.size <= count else {
            throw TrainingError.tooManyProcesses(
                communicator.size, microBatches: count, batchSize: options.batchSize)
        }
        while step < options.steps {
            try advance(objective)
            progress(
                step, options.steps, pending.count > 0 ? pending.record(at: step) : history[history.count - 1]
            )
            let isStopping = try communicator.any(shouldStop())
            if isStopping || step % options.saveEvery == 0 || step == options.steps {
                try inFirstProcess(save)
            }
            if isStopping && step < options.steps { return false }
        }
        return true
    }

    private func advance(_ objective: StepGradients.Objective) throws {
        let result = try gradients.compute(step: step, objective)
        let factor = options.schedule.factor(step: step, of: options.steps)
        let norm =
            result == nil
            ? .infinity
            : try optimizer.update(
                factor: factor, maximumNorm: options.maximumGradientNorm,
                average: optimizer.shards == nil ? average : nil, step: step,
                exchange: { try communicator.sum(&$0) })
        guard let result, norm.isFinite else {
            optimizer.dropGradients()
            throw TrainingError.diverged(step: step, learningRate: options.learningRate * factor)
        }
        if optimizer.shards != nil {
            try gradients.accumulator?.shareValues { try communicator.share($0, parts: $1) }
            average?.update(step: step)
        }
        step += 1
        latest = StepMetrics(
            step: step, loss: result.loss, parts: result.parts, gradientNorm: norm,
            learningRate: options.learningRate * factor, dataSeconds: result.dataSeconds)
        pending.add(result.loss, result.parts, norm)
        // The last point may have fewer steps. Its sums are kept, in case that the run is continued with more steps.
        if isAtRecord || step == options.steps { history.append(pending.record(at: step)) }
        if isAtRecord { pending = LossSums() }
    }

    /// Whether a point of the loss curve ends with the last step, in a run of any length.
    private var isAtRecord: Bool { step % Self.recordEvery == 0 }

    /// Sums of the unfinished point of the loss curve; part of the saved state.
    var pendingState: LossSums {
        get { pending }
        set { pending = newValue }
    }
}

/// Running sums of one point of the loss curve.
struct LossSums: Codable, Hashable, Sendable {
    var count = 0
    var loss: Float = 0
    var norm: Float = 0
    var parts: [String: Float] = [:]

    mutating func add(_ value: Float, _ named: [String: Float], _ gradientNorm: Float) {
        count += 1
        loss += value
        norm += gradientNorm
        for (name, part) in named { parts[name, default: 0] += part }
    }

    func record(at step: Int) -> LossRecord {
        let n = Float(max(count, 1))
        return LossRecord(
            step: step, loss: loss / n, parts: parts.mapValues { $0 / n }, gradientNorm: norm / n)
    }
}

extension TrainingError: CategorizedError {
    public var category: ErrorCategory { .badData }
}
