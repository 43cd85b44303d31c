// SPDX-License-Identifier: Apache-2.0
// A CLIP-proxy's training as a file: the proxy as it would be shipped now and, while steps are left, what a resumed
// run needs.

import BitsFusion
import Foundation

extension ClipProxyTrainer {
    /// Writes the proxy with its final weights and, unless all steps are done, the state of the run.
    ///
    /// - Parameters:
    ///   - path: where the file will lie; a file of that name is replaced.
    ///   - manifest: this run.
    ///   - type: the element type of the proxy's parameters; the state stays in Float32.
    /// - Throws: `CheckpointError`.
    public func write(to path: String, manifest: RunManifest, as type: ElementType = .float32) throws {
        let state =
            loop.step < config.training.steps ? try loop.state(run: try Self.description(of: config)) : nil
        try withFinalWeights { proxy in
            try proxy.write(to: path, manifest: manifest, as: type) { writer in
                guard let state else { return }
                try state.write(with: writer)
            }
        }
    }

    /// Continues the run that `path` was written by.
    ///
    /// - Returns: false where the file holds no state, as after the last step; the trainer is unchanged then.
    /// - Throws: `CheckpointError`, and `TrainingStateError` where the run was another one.
    public func resume(from path: String) throws -> Bool {
        try loop.resume(
            from: CheckpointReader(path, formats: [.clip]), run: try Self.description(of: config))
    }

    /// What must not change within a run, as JSON text; how often a run is saved may.
    private static func description(of config: ClipProxyTrainingConfig) throws -> String {
        var fixed = config
        fixed.training = fixed.training.decidingResults
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return String(decoding: try encoder.encode(fixed), as: UTF8.self)
    }
}
