// SPDX-License-Identifier: Apache-2.0
// Categories of errors, as in BSD's sysexits.h. All errors of the library have a category, which the command line maps
// to an exit status.

/// The category of an error.
public enum ErrorCategory: Sendable, CaseIterable {
    /// Options or arguments that are invalid or contradict each other.
    case usage
    /// Input data that is damaged, has another format, or does not match other input.
    case badData
    /// An input that does not exist.
    case inputMissing
    /// A bug in the program.
    case internalError
    /// An output that cannot be created.
    case cannotCreate
    /// Reading or writing failed.
    case inputOutput
    /// The run was interrupted by Ctrl-C or a request to terminate.
    case interrupted
}

/// An error with a category and a description in one line: where, what is wrong, expected and found values, what to do.
public protocol CategorizedError: Error, CustomStringConvertible {
    /// The category.
    var category: ErrorCategory { get }
}
