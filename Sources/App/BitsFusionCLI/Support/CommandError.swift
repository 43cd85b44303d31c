// SPDX-License-Identifier: Apache-2.0
// Exit statuses (BSD's sysexits.h), errors that only commands detect, and the file names that errors of the library
// lack.

import BitsFusion
import Foundation

/// Why the program ended.
enum ExitStatus: Int32, Sendable {
    case success = 0
    /// The command line is wrong.
    case usage = 64
    /// The content of an input is wrong.
    case badData = 65
    /// An input does not exist.
    case inputMissing = 66
    /// A fault of the program.
    case internalError = 70
    /// An output cannot be created.
    case cannotCreate = 73
    /// Reading or writing failed.
    case inputOutput = 74
    /// SIGINT, SIGTERM or SIGHUP.
    case interrupted = 130
}

extension ExitStatus {
    /// The exit status for errors of `category`.
    init(_ category: ErrorCategory) {
        self =
            switch category {
            case .usage: .usage
            case .badData: .badData
            case .inputMissing: .inputMissing
            case .internalError: .internalError
            case .cannotCreate: .cannotCreate
            case .inputOutput: .inputOutput
            case .interrupted: .interrupted
            }
    }
}

/// An error that only a command detects, such as options that do not fit their file.
struct CommandError: CategorizedError {
    let category: ErrorCategory
    /// One line: what is wrong, where, expected and found, what to do.
    let description: String

    init(_ category: ErrorCategory, _ description: String) {
        self.category = category
        self.description = description
    }
}

/// Runs `body`. Errors of the library that name a key or a layer but no file are rethrown as `file: ...`.
func addingFile<Value>(_ file: String, to body: () throws -> Value) throws -> Value {
    do {
        return try body()
    } catch let error as ConfigError {
        throw CommandError(error.category, "\(file): \(error)")
    } catch let error as ParameterError {
        throw CommandError(error.category, "\(file): \(error)")
    } catch let error as PipelineError {
        throw CommandError(error.category, "\(file): \(error)")
    } catch let error as TokenizerError {
        throw CommandError(error.category, "\(file): \(error)")
    } catch let error as TimeFeatureError {
        throw CommandError(error.category, "\(file): \(error)")
    } catch let error as SensitivityError {
        throw CommandError(error.category, "\(file): \(error)")
    } catch let error as SamplerError where error.category == .badData {
        // Options of the scheduler config; a number of steps is one of the command line.
        throw CommandError(error.category, "\(file): \(error)")
    } catch let error as DenoiserInputError {
        throw CommandError(error.category, "\(file): \(error)")
    } catch let error as AllocationError {
        switch error {
        case .table, .sizeWithoutInventory, .noImages, .unmeasuredLayer, .missingScore, .scoresTooLarge:
            throw CommandError(error.category, "\(file): \(error)")
        default:
            throw error
        }
    } catch let error as RecipeError {
        if case .inFile = error { throw error }
        throw RecipeError.inFile(name: file, error)
    }
}
