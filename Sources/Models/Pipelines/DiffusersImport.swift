// SPDX-License-Identifier: Apache-2.0
// Converts a diffusers folder to a checkpoint: config and names are checked against the architecture first, then the
// tensors are copied one by one.

import Checkpoints
import Foundation
import Layers
import Networks
import Recipes
import Tensors

extension Denoiser {
    /// Checks that `source` has exactly the tensors of this model, by name and shape; reads no elements.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.shapeMismatch`, `.unusedKeys`.
    public func checkTensors(of source: any TensorSource) throws {
        for entry in store.entries {
            let found = try source.require(entry.key).shape
            guard found == entry.source.shape else {
                throw CheckpointError.shapeMismatch(
                    file: source.path, key: entry.key, expected: entry.source.shape, found: found)
            }
        }
        let known = Set(store.entries.map(\.key))
        let unused = source.keys.filter { !known.contains($0) }
        if !unused.isEmpty { throw CheckpointError.unusedKeys(file: source.path, keys: unused) }
    }
}

extension DenoiserConfig {
    /// Checks that `source` holds exactly the tensors of this architecture; reads no elements.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.shapeMismatch`, `.unusedKeys`.
    public func checkTensors(of source: any TensorSource) throws {
        try skeleton().checkTensors(of: source)
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
    ///   unknown, of another shape or not finite; `FileError`, `HDF5Error`; and what `progress` throws.
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
