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

extension UNet2DConditionConfig {
    /// Reads a `config.json`.
    ///
    /// - Throws: `CheckpointError`; `CommandError` naming the file and the key.
    init(file path: String) throws {
        let data = try AtomicFile.read(path)
        self = try naming(path) { try UNet2DConditionConfig(json: data) }
    }

    /// The config of a checkpoint called `name` on the command line.
    ///
    /// - Throws: `CommandError` naming the file and the key.
    init(of checkpoint: CheckpointReader, named name: String) throws {
        self = try naming(name) { try UNet2DConditionConfig(json: Data(checkpoint.header.config.utf8)) }
    }
}
