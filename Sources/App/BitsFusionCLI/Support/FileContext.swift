// SPDX-License-Identifier: Apache-2.0
// Configs and architectures are checked by code that knows keys, not files; these functions add the file's name.

import BitsFusion
import Foundation

/// Runs `body`; errors that do not say which file they are about come out as `file: ...`.
func naming<Value>(_ file: String, _ body: () throws -> Value) throws -> Value {
    do {
        return try body()
    } catch let error as ConfigError {
        throw CommandError(error.category, "\(file): \(error)")
    } catch let error as ParameterError {
        throw CommandError(error.category, "\(file): \(error)")
    } catch let error as PipelineError {
        throw CommandError(error.category, "\(file): \(error)")
    } catch let error as TimeFeatureError {
        throw CommandError(error.category, "\(file): \(error)")
    } catch let error as RecipeError {
        if case .inFile = error { throw error }
        throw RecipeError.inFile(name: file, error)
    }
}

extension DenoiserRegistry {
    /// Reads a `config.json`.
    ///
    /// - Throws: `FileError`; `CommandError` naming the file and the key.
    static func config(file path: String) throws -> any DenoiserConfig {
        let data = try AtomicFile.read(path)
        return try naming(path) { try config(json: data) }
    }

    /// The denoiser's config in a checkpoint called `name` on the command line.
    ///
    /// - Throws: `CommandError` naming the file and the key.
    static func config(of checkpoint: CheckpointReader, named name: String) throws -> any DenoiserConfig {
        try naming(name) { try config(json: checkpoint.header.config) }
    }
}
