// SPDX-License-Identifier: Apache-2.0
// The state that a resumed run needs to end bit-equal to an uninterrupted one: values, moments, averages, the step and
// the loss curve. Random numbers need no state, since every step has its own stream. Tensors are named `values/<key>`,
// `first_moments/<key>`, `second_moments/<key>` and `averages/<key>`.

import Checkpoints
import Files
import Foundation
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
    /// The run was started with another value of `option`, which must not change.
    case differentRun(option: String, saved: String, requested: String)

    public var description: String {
        switch self {
        case .missingTensor(let name):
            "training state: \(name) is missing; start again without --resume"
        case .shapeMismatch(let name, let expected, let found):
            "training state: \(name): wrong shape: expected \(expected), found \(found); "
                + "the state belongs to another model"
        case .malformed(let reason): "training state: \(reason); start again without --resume"
        case .differentRun(let option, let saved, let requested):
            "training state: \(option): the run was started with \(saved), found \(requested); "
                + "resume with the same settings, or start again without --resume"
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
    }

    /// The current state.
    ///
    /// The tensors share the run's memory: write them before the next step.
    ///
    /// - Parameter run: the identity of the run, which must be the same when it is resumed.
    /// - Returns: the state; without tensors if all steps are done.
    /// - Throws: `EncodingError` for numbers that JSON cannot represent.
    public func state(run: String) throws -> TrainingState {
        var tensors: [TrainingState.Entry] = []
        for parameter in optimizer.groups.flatMap(\.parameters) {
            let name = parameter.name
            tensors.append(.init("values/\(name)", parameter.value))
            guard let moments = optimizer.moments[name] else { continue }
            tensors.append(.init("first_moments/\(name)", as: optimizer.momentType) { moments.first })
            tensors.append(.init("second_moments/\(name)", as: optimizer.momentType) { moments.second })
            if let average = average?.averages[name] { tensors.append(.init("averages/\(name)", average)) }
        }
        let document = Document(
            step: step, updates: optimizer.updates, history: history, pending: pendingState, options: options,
            run: run)
        // A finished run keeps its record only.
        return TrainingState(
            json: try JSONEncoder.compact.encode(document), tensors: step < options.steps ? tensors : [])
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
        guard document.run == run else {
            throw TrainingStateError.differentRun(
                option: "configuration", saved: document.run, requested: run)
        }
        guard document.options.decidingResults == options.decidingResults else {
            throw TrainingStateError.differentRun(
                option: "training options", saved: "\(document.options)", requested: "\(options)")
        }
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
    }
}

extension TrainingLoop {
    /// Continues from the state in a checkpoint.
    ///
    /// - Parameters:
    ///   - checkpoint: a file that such a run wrote.
    ///   - run: the identity of this run, as passed to `state(run:)`.
    /// - Returns: false if the file holds no unfinished run; the loop is unchanged then.
    /// - Throws: `HDF5Error`, `CheckpointError`, `TrainingStateError`.
    package func resume(from checkpoint: CheckpointReader, run: String) throws -> Bool {
        guard let state = try checkpoint.trainingState() else { return false }
        let json = Data(state.json.utf8)
        guard try !Self.savedProgress(json: json).isFinished else { return false }
        try restore(json: json, run: run) { name in
            state.tensors.stored(name) == nil ? nil : try state.tensors.tensor(name)
        }
        return true
    }
}

extension TrainingStateError: CategorizedError {
    public var category: ErrorCategory { .badData }
}
