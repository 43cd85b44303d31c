// SPDX-License-Identifier: Apache-2.0
// Converts a diffusers folder to a checkpoint: config and names are checked against the architecture first, then the
// tensors are copied one by one.

import Checkpoints
import Foundation
import Layers
import Networks
import Recipes
import Tensors

extension DenoiserConfig {
    /// Checks that `source` holds exactly the tensors of this architecture; reads no elements.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.shapeMismatch`, `.unusedKeys`.
    public func checkTensors(of source: any TensorSource) throws {
        let check = TensorCheck(source)
        _ = try model(ParameterPath(ParameterStore(provider: check)), timeFeatures: nil)
        let unused = source.keys.filter { !check.used.contains($0) }
        if !unused.isEmpty { throw CheckpointError.unusedKeys(file: source.path, keys: unused) }
    }
}

extension DiffusersFolder {
    /// Writes the denoiser as a dense model.
    ///
    /// - Parameters:
    ///   - path: the file; it appears when complete.
    ///   - manifest: provenance of the file.
    ///   - type: the type of every tensor; nil keeps each tensor's own.
    ///   - progress: called with the tensors copied and their number; it may throw to interrupt.
    /// - Throws: `ConfigError` for a config that is not supported; `CheckpointError` for tensors that are missing,
    ///   unknown, of another shape or not finite; and what `progress` throws.
    public func writeModel(
        to path: String, manifest: RunManifest, as type: ElementType? = nil,
        progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws {
        let denoiser = try DenoiserRegistry.config(json: config)
        try denoiser.checkTensors(of: weights)
        let header = CheckpointHeader(.model, of: denoiser, manifest: try manifest.json(), scheduler: scheduler)
        let writer = try CheckpointWriter(path, header: header)
        for (index, key) in weights.keys.enumerated() {
            let stored = try weights.encoded(key, as: type)
            try stored.bytes.withUnsafeBytes {
                try writer.write(key, type: stored.type, shape: stored.shape, bytes: $0)
            }
            try progress(index + 1, weights.keys.count)
        }
        try writer.finish()
    }
}

/// Compares the shapes that a model requests with those of stored tensors.
private final class TensorCheck: ParameterProvider {
    private let source: any TensorSource
    private(set) var used: Set<String> = []

    init(_ source: any TensorSource) { self.source = source }

    func weight(_ key: String, shape: [Int], initializer: Initializer) throws -> any WeightSource {
        let found = try source.require(key).shape
        guard found == shape else {
            throw CheckpointError.shapeMismatch(file: source.path, key: key, expected: shape, found: found)
        }
        used.insert(key)
        return shape.count > 1 ? ShapeOnlyWeight(shape) : Parameter(key, .zeros(shape), isTrainable: false)
    }
}
