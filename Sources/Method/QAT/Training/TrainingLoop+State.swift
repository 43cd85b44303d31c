// SPDX-License-Identifier: Apache-2.0
// The state that a resumed run needs to end bit-equal to an uninterrupted one: values, moments, averages, the step and
// the loss curve. Random numbers need no state, since every step has its own stream. Tensors are named `values/<key>`,
// `first_moments/<key>`, `second_moments/<key>` and `averages/<key>`.

import Checkpoints
import Files
import Foundation
import Optimizers
import Pipelines
import Tensors

/// The progress of a saved run.
public struct TrainingProgress: Sendable {
    public let step: Int
    public let steps: Int
    public let history: [LossRecord]

    public var isFinished: Bool { step >= steps }
}

/// A saved state that cannot be resumed.
public enum TrainingStateError: Error, Equatable, Sendable {
    case missingTensor(name: String)
    case shapeMismatch(name: String, expected: [Int], found: [Int])
    case malformed(reason: String)
    /// The run was started with other settings, which must not change.
    case differentRun([SettingDifference])
    /// The run has another number of steps, on which the learning rate of the `done` steps depends.
    case scheduleLength(done: Int, saved: Int, requested: Int)
    /// More steps are done than are requested.
    case stepsDone(done: Int, requested: Int)
    /// The file of a finished run was written without the optimizer's state.
    case noFinalState(done: Int)

    public var description: String {
        switch self {
        case .missingTensor(let name):
            "training state: \(name) is missing; start again with --overwrite"
        case .shapeMismatch(let name, let expected, let found):
            "training state: \(name): wrong shape: expected \(expected), found \(found); "
                + "the state belongs to another model"
        case .malformed(let reason): "training state: \(reason); start again with --overwrite"
        case .differentRun(let differences):
            "training state: the run was started with \(SettingDifference.listed(differences)); resume with the same "
                + "settings, or start again with --overwrite"
        case .scheduleLength(let done, let saved, let requested):
            "training state: training.schedule.decay: with cosine, the learning rates of the \(done) steps that are "
                + "done depend on the number of steps, which was \(saved), not \(requested); start again with "
                + "--overwrite and decay: constant, or with schedule.horizon"
        case .stepsDone(let done, let requested):
            "training state: steps: \(done) are done, found \(requested); request \(done) or more"
        case .noFinalState(let done):
            "training state: the run is finished after \(done) steps and its file has no optimizer state to continue "
                + "from; start again with --overwrite"
        }
    }
}

extension TrainingLoop {
    private struct Document: Codable {
        var step: Int
        var updates: Int
        var history: [LossRecord]
        var pending: LossSums
        var options: TrainingOptions
        /// The trainer's own options, as JSON text.
        var run: String
        /// Of sums of several micro-batches; nil for other runs.
        var gradientExponents: [String: Int]?
    }

    /// The current state.
    ///
    /// The tensors share the run's memory: write them before the next step.
    ///
    /// - Parameters:
    ///   - run: the identity of the run, which must be the same when it is resumed.
    ///   - keepsFinalState: whether the state of a finished run has tensors, so that it can be continued with more
    ///     steps.
    /// - Returns: the state.
    /// - Throws: `EncodingError` for numbers that JSON cannot represent.
    public func state(run: String, keepsFinalState: Bool = false) throws -> TrainingState {
        var tensors: [TrainingState.Entry] = []
        for (slot, parameter) in optimizer.groups.flatMap(\.parameters).enumerated() {
            let name = parameter.name
            tensors.append(.init("values/\(name)", parameter.value))
            for kind in Self.moments.indices {
                tensors.append(
                    .init("\(Self.moments[kind].kind)/\(name)", as: optimizer.momentType) { [self] in
                        try moment(kind, slot)
                    })
            }
            if let average = average?.averages[name] { tensors.append(.init("averages/\(name)", average)) }
        }
        // Otherwise a finished run keeps its record only.
        let isResumable = step < options.steps || keepsFinalState
        let document = Document(
            step: step, updates: optimizer.updates, history: history,
            pending: isResumable ? pendingState : LossSums(), options: options, run: run,
            gradientExponents: isResumable ? gradients.accumulator?.exponentsByName : nil)
        return TrainingState(
            json: try JSONEncoder.compact.encode(document), tensors: isResumable ? tensors : [])
    }

    /// The moments in the order of the file.
    private static var moments: [(kind: String, moment: KeyPath<OptimizerMoments, Tensor>)] {
        [("first_moments", \.first), ("second_moments", \.second)]
    }

    /// Runs `body`, which may read the moments of a sharded optimizer's state, in the first process. The others provide
    /// their parts of them.
    ///
    /// - Throws: what `body` throws; `PeerFailure`.
    func inFirstProcess(_ body: () throws -> Void) throws {
        let isFirst = communicator.isFirst
        if isFirst { try body() }
        guard optimizer.shards != nil else { return }
        while let (kind, slot) = try requestedMoment(nil) { _ = try collected(kind, slot) }
    }

    /// Tells all processes which moment the first one needs.
    ///
    /// - Parameter request: the request of this process; nil for none.
    /// - Returns: the request of the first process; nil for none.
    /// - Throws: `PeerFailure`.
    private func requestedMoment(_ request: (kind: Int, slot: Int)?) throws -> (kind: Int, slot: Int)? {
        var code = [request.map { Int64(1 + $0.slot * Self.moments.count + $0.kind) } ?? 0]
        try communicator.sum(&code)
        guard code[0] > 0 else { return nil }
        let (slot, kind) = (Int(code[0]) - 1).quotientAndRemainder(dividingBy: Self.moments.count)
        return (kind, slot)
    }

    /// A moment of a parameter; of a sharded optimizer, from all processes.
    private func moment(_ kind: Int, _ slot: Int) throws -> Tensor {
        let parameter = optimizer.groups.flatMap(\.parameters)[slot]
        guard optimizer.shards != nil else {
            return optimizer.moments[parameter.name]?[keyPath: Self.moments[kind].moment] ?? .zeros(parameter.shape)
        }
        _ = try requestedMoment((kind, slot))
        return try collected(kind, slot) ?? .zeros(parameter.shape)
    }

    private func collected(_ kind: Int, _ slot: Int) throws -> Tensor? {
        try optimizer.collected(Self.moments[kind].moment, slot) { try communicator.share($0, parts: $1) }
    }

    /// Reads the progress of a saved run.
    ///
    /// - Throws: `TrainingStateError.malformed`.
    public static func savedProgress(json: Data) throws -> TrainingProgress {
        let document = try decode(json)
        return TrainingProgress(step: document.step, steps: document.options.steps, history: document.history)
    }

    private static func decode(_ json: Data) throws -> Document {
        do {
            return try JSONDecoder().decode(Document.self, from: json)
        } catch {
            throw TrainingStateError.malformed(reason: "its description does not parse")
        }
    }

    /// Continues from a saved state of the same run.
    ///
    /// - Parameters:
    ///   - json: the JSON of the state.
    ///   - run: the identity of this run, as passed to `state(run:)`.
    ///   - tensor: reads a tensor of the state; returns nil if there is none of that name.
    /// - Throws: `TrainingStateError`, and what `tensor` throws.
    public func restore(json: Data, run: String, tensor: (String) throws -> Tensor?) throws {
        let document = try Self.decode(json)
        try checkSettings(document, run: run)
        func required(_ name: String, _ shape: [Int]) throws -> Tensor {
            guard let value = try tensor(name) else { throw TrainingStateError.missingTensor(name: name) }
            guard value.shape == shape else {
                throw TrainingStateError.shapeMismatch(name: name, expected: shape, found: value.shape)
            }
            return value
        }
        for parameter in optimizer.groups.flatMap(\.parameters) {
            let (name, shape) = (parameter.name, parameter.shape)
            // Copies: training changes values and moments in place.
            parameter.value = try required("values/\(name)", shape).copied()
            optimizer.restore(
                name, first: try required("first_moments/\(name)", shape),
                second: try required("second_moments/\(name)", shape))
            if let average { average.restore(name, try required("averages/\(name)", shape).copied()) }
        }
        step = document.step
        optimizer.updates = document.updates
        history = document.history
        pendingState = document.pending
        gradients.accumulator?.exponentsByName = document.gradientExponents ?? [:]
        // The point at the end of a run with fewer steps is a part of the next one.
        if step > 0, history.last?.step == step, pendingState.count > 0 { history.removeLast() }
    }

    /// - Throws: `TrainingStateError` where this run is not that of `document` with the same or more steps.
    private func checkSettings(_ document: Document, run: String) throws {
        var saved = document.options
        saved.steps = options.steps
        let ofRun = SettingDifference.between(document.run, run).filter { !Self.isStepCount($0.key) }
        // The options are a part of most identities.
        let ofOptions = try SettingDifference.between(saved.decidingResults, options.decidingResults)
            .map { SettingDifference(key: "training.\($0.key)", saved: $0.saved, requested: $0.requested) }
            .filter { difference in
                !ofRun.contains { $0.key == difference.key || $0.key.hasSuffix("." + difference.key) }
            }
        guard ofRun.isEmpty, ofOptions.isEmpty else { throw TrainingStateError.differentRun(ofRun + ofOptions) }
        guard document.step <= options.steps else {
            throw TrainingStateError.stepsDone(done: document.step, requested: options.steps)
        }
        let (before, now) = (document.options.steps, options.steps)
        let isSameRate = (0..<document.step).allSatisfy {
            options.schedule.factor(step: $0, of: before) == options.schedule.factor(step: $0, of: now)
        }
        guard isSameRate else {
            throw TrainingStateError.scheduleLength(done: document.step, saved: before, requested: now)
        }
    }

    /// Whether `key` of a run's identity is its number of steps, which may change.
    private static func isStepCount(_ key: String) -> Bool {
        key == "training.steps" || key.hasSuffix(".training.steps")
    }
}

extension TrainingLoop {
    /// Continues from the state in a checkpoint.
    ///
    /// - Parameters:
    ///   - checkpoint: a file that such a run wrote.
    ///   - run: the identity of this run, as passed to `state(run:)`.
    /// - Returns: false if the file holds no run, or one that is finished after the requested number of steps; the loop
    ///   is unchanged then.
    /// - Throws: `HDF5Error`, `CheckpointError`, `TrainingStateError`.
    package func resume(from checkpoint: CheckpointReader, run: String) throws -> Bool {
        guard let state = try checkpoint.trainingState() else { return false }
        let json = Data(state.json.utf8)
        let progress = try Self.savedProgress(json: json)
        if progress.isFinished {
            guard options.steps > progress.step else { return false }
            guard !state.tensors.keys.isEmpty else {
                throw TrainingStateError.noFinalState(done: progress.step)
            }
        }
        try restore(json: json, run: run) { name in
            state.tensors.stored(name) == nil ? nil : try state.tensors.tensor(name)
        }
        return true
    }
}

extension TrainingStateError: CategorizedError {
    public var category: ErrorCategory { .badData }
}
