// SPDX-License-Identifier: Apache-2.0
// A teacher's training as a file: the model as it would be shipped now and, while steps are left, what a resumed run
// needs.

import BitsFusion
import Foundation

extension TeacherTrainer {
    /// Writes the model with its final weights, and the state of the run.
    ///
    /// - Parameters:
    ///   - path: the file; one of that name is replaced when the new one is complete.
    ///   - manifest: this run.
    ///   - type: of the model's parameters; the state stays Float32.
    /// - Throws: `CheckpointError`.
    public func write(to path: String, manifest: RunManifest, as type: ElementType = .float32) throws {
        let state = try loop.state(run: try identity())
        try withFinalWeights { try $0.writeModel(to: path, manifest: manifest, as: type, training: state) }
    }

    /// Continues the run that `path` was written by.
    ///
    /// - Returns: false where that run is finished; the trainer is unchanged then.
    /// - Throws: `CheckpointError`, and `TrainingStateError` where the run was another one.
    public func resume(from path: String) throws -> Bool {
        try loop.resume(from: CheckpointReader(path, formats: [.model]), run: try identity())
    }

    /// What must not change within a run, as JSON text; how often a run is saved may.
    private func identity() throws -> String {
        var fixed = config
        fixed.training = fixed.training.decidingResults
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let text = String(decoding: try encoder.encode(fixed), as: UTF8.self)
        return start.map { text + " from " + $0 } ?? text
    }
}
