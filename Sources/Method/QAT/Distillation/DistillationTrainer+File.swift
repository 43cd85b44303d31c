// SPDX-License-Identifier: Apache-2.0
// A stage as a file: the student as it would be handed on now and, while steps are left, what a resumed run needs.

import Checkpoints
import Foundation
import Recipes
import Tensors

extension DistillationTrainer {
    /// Writes the student with its final weights, and the state of the run.
    ///
    /// - Parameters:
    ///   - path: the file; one of that name is replaced when the new one is complete.
    ///   - manifest: this run.
    /// - Throws: `CheckpointError`.
    public func write(to path: String, manifest: RunManifest) throws {
        let state = try loop.state(run: try identity())
        try withFinalWeights { try $0.writeStudent(to: path, manifest: manifest, training: state) }
    }

    /// Continues the run that `path` was written by.
    ///
    /// - Returns: false where that run is finished; the trainer is unchanged then.
    /// - Throws: `CheckpointError`, and `TrainingStateError` where the run was another one.
    public func resume(from path: String) throws -> Bool {
        try loop.resume(from: CheckpointReader(path, formats: [.student]), run: try identity())
    }

    /// What must not change within a run, as JSON text; how often a run is saved may.
    private func identity() throws -> String {
        struct Identity: Codable {
            var stage: DistillationStage
            var options: StageOptions
            var widths: [String: Int]
        }
        var fixed = options
        fixed.training = fixed.training.decidingResults
        let widths = student.recipe?.layers.map { ($0.rawValue, $1.rawValue) } ?? []
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let identity = Identity(
            stage: stage, options: fixed, widths: Dictionary(uniqueKeysWithValues: widths))
        return String(decoding: try encoder.encode(identity), as: UTF8.self)
    }
}
