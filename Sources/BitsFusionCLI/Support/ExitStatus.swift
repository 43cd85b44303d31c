// SPDX-License-Identifier: Apache-2.0
// The statuses that the program ends with (BSD's sysexits.h).

/// Why the program ended.
enum ExitStatus: Int32, Sendable {
    case success = 0
    /// The command line is wrong.
    case usage = 64
    /// An input holds something else than it must.
    case badData = 65
    /// An input is not there.
    case inputMissing = 66
    /// A fault of the program itself.
    case internalError = 70
    /// An output cannot be created.
    case cannotCreate = 73
    /// Reading or writing failed on the way.
    case inputOutput = 74
    /// Ctrl-C, or a request to terminate.
    case interrupted = 130
}

/// An error that knows how the program ends with it. Its description is the text: one line.
protocol ExitStatusProviding: Error, CustomStringConvertible {
    var exitStatus: ExitStatus { get }
}

/// A fault that only a command can see, such as options that do not suit the file that they are used with.
struct CommandError: ExitStatusProviding {
    let exitStatus: ExitStatus
    /// What, where, expected and found, what to do; one line.
    let description: String

    init(_ exitStatus: ExitStatus, _ description: String) {
        self.exitStatus = exitStatus
        self.description = description
    }
}
