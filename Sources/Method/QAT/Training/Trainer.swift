// SPDX-License-Identifier: Apache-2.0
// What every training run of this project shares: the loop over its loss, the weights that are shipped, the run's
// identity, and resuming from the file that the run wrote.

import Checkpoints
import Files
import Foundation
import Optimizers
import Tensors

/// One training run: a model, its loss and the loop that trains it.
///
/// A conforming type builds the model and its parameter groups, computes the loss of a part of a batch, and says which
/// settings a resumed run must have. It writes its own file within `withFinalState(_:)`.
public protocol Trainer {
    associatedtype Model
    associatedtype Identity: Encodable

    /// The model in training, changed in place.
    var model: Model { get }
    /// Steps, optimizer and average.
    var loop: TrainingLoop { get }
    /// The settings that decide the result. A run is only resumed from a file with the same ones.
    var identity: Identity { get }
    /// The format of the files that the run writes.
    var fileFormat: CheckpointFormat { get }
    /// Whether the file of a finished run keeps the optimizer's state, so that the run can be continued with more
    /// steps; false by default.
    static var keepsFinalState: Bool { get }

    /// The mean loss over the samples of `part`.
    ///
    /// - Parameters:
    ///   - part: all or a part of one step's batch.
    ///   - random: the step's own stream, which the parts of a step share.
    /// - Returns: the loss, and its named parts for the log.
    /// - Throws: what the data throws.
    func loss(of part: MicroBatch, random: inout Philox) throws -> StepLoss
}

extension Trainer {
    public static var keepsFinalState: Bool { false }

    /// Runs the remaining steps; see `TrainingLoop.run`.
    ///
    /// - Returns: true when all steps are done, false when stopped.
    @discardableResult
    public func run(
        progress: (_ done: Int, _ of: Int, _ recent: LossRecord) -> Void = { _, _, _ in },
        save: () throws -> Void = {}, shouldStop: () -> Bool = { false }
    ) throws -> Bool {
        try loop.run(
            objective: { part, random in try loss(of: part, random: &random) }, progress: progress, save: save,
            shouldStop: shouldStop)
    }

    /// Runs `body` with the weights that are shipped: their moving average if the run keeps one. The trained weights
    /// are restored afterwards.
    public func withFinalWeights<Result>(_ body: (Model) throws -> Result) rethrows -> Result {
        guard let average = loop.average else { return try body(model) }
        return try average.withAverages { try body(model) }
    }

    /// Runs `body` with the weights that are shipped, and with the state that resumes the run.
    ///
    /// The state holds the trained weights, not their average, and is to be written within `body`.
    public func withFinalState(_ body: (Model, TrainingState) throws -> Void) throws {
        let state = try loop.state(run: try identityText(), keepsFinalState: Self.keepsFinalState)
        try withFinalWeights { try body($0, state) }
    }

    /// Continues the run that wrote the file at `path`, to the options' number of steps. It may be larger than that of
    /// the file's run if the learning rate of no step depends on it.
    ///
    /// - Returns: false if the file holds no run, or one with all steps done; the trainer is unchanged then.
    /// - Throws: what `CheckpointReader` throws; `TrainingStateError`: `.differentRun` if the file belongs to another
    ///   run, `.scheduleLength`, `.stepsDone` and `.noFinalState` if the run cannot have this number of steps.
    public func resume(from path: String) throws -> Bool {
        try loop.resume(from: CheckpointReader(path, formats: [fileFormat]), run: try identityText())
    }

    /// The identity as JSON, in the order of its keys.
    public func identityText() throws -> String {
        return String(decoding: try JSONEncoder.compact.encode(identity), as: UTF8.self)
    }
}
