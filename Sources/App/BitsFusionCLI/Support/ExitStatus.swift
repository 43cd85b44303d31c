// SPDX-License-Identifier: Apache-2.0
// The statuses that the program ends with (BSD's sysexits.h).

import BitsFusion

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

extension ExitStatus {
    /// The status that the program ends with for errors of `category`.
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

/// A failure that only a command can detect, such as options that do not suit the file that they are used with.
struct CommandError: CategorizedError {
    let category: ErrorCategory
    /// What, where, expected and found, what to do; one line.
    let description: String

    init(_ category: ErrorCategory, _ description: String) {
        self.category = category
        self.description = description
    }
}
