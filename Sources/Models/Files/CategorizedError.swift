// SPDX-License-Identifier: Apache-2.0
// What an error means to the caller of the program, as BSD's sysexits.h groups it. Every error that the library throws
// says its own category; the command line maps the category to its exit status.

/// The kind of failure behind an error.
public enum ErrorCategory: Sendable, CaseIterable {
    /// Options or arguments that are invalid or contradict each other.
    case usage
    /// Input data that is damaged, of another format, or does not fit the rest.
    case badData
    /// An input that does not exist.
    case inputMissing
    /// A bug in the program.
    case internalError
    /// An output that cannot be created.
    case cannotCreate
    /// Reading or writing that failed.
    case inputOutput
    /// Ctrl-C, or a request to terminate.
    case interrupted
}

/// An error with a category and a one-line description: what, where, expected and found, what to do.
public protocol CategorizedError: Error, CustomStringConvertible {
    /// The kind of failure.
    var category: ErrorCategory { get }
}
