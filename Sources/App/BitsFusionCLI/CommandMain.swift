// SPDX-License-Identifier: Apache-2.0
// Runs a command and turns its error into one line and an exit status: `bitsfusion COMMAND: WHERE: WHAT; WHAT TO DO`.

import ArgumentParser
import BitsFusion
import Foundation

/// Runs the program and ends it.
enum CommandMain {
    /// The end of a run.
    struct Outcome: Equatable {
        var status: ExitStatus
        /// One line for standard error, or, for `.success`, the requested text (help, version).
        var message: String?
    }

    /// Runs the command of this process's arguments, prints its error, and exits.
    static func run() -> Never {
        Output.reserveStandardStreams()
        InterruptFlag.handleSignals()
        Processes.silenceOthers()
        // A reader of standard output that closes early, such as `head`, must not end a run that writes files.
        signal(SIGPIPE, SIG_IGN)
        // A write beyond the limit of file sizes (`ulimit -f`) then fails like one to a full disk, and the unfinished
        // file is removed.
        signal(SIGXFSZ, SIG_IGN)
        let arguments = Array(CommandLine.arguments.dropFirst())
        var outcome = outcome(of: arguments)
        Output.releaseLocks()
        if outcome.status == .success {
            if let message = outcome.message { Output.line(message) }
            if let failure = Output.failure { outcome = self.outcome(of: failure, arguments) }
        }
        end(Processes.finish(outcome.status, message: outcome.message))
    }

    /// Ends the process without the exit handlers of libraries: OpenBLAS's one waits for its threads, which never end
    /// where memory ran out. All output was written without buffers.
    private static func end(_ status: Int32) -> Never {
        // Builds for coverage write their counters in an exit handler.
        if getenv("LLVM_PROFILE_FILE") != nil { exit(status) }
        _exit(status)
    }

    /// Runs the command that `arguments` (without the program's name) describe.
    static func outcome(of arguments: [String]) -> Outcome {
        BundledWorld.register()
        do {
            try Environment.check()
            try Environment.checkArguments()
        } catch {
            return outcome(of: error, arguments)
        }
        // ArgumentParser prints the help page of the program for `help` and an unknown command.
        if let name = unknownHelpCommand(arguments) { return unknown(name, arguments) }
        do {
            var command = try BitsFusionCommand.parseAsRoot(arguments)
            if !(command is any CommandOfProcesses) {
                try Processes.checkIsAlone(commandName(arguments) ?? "this command")
            }
            try command.run()
            return Outcome(status: .success)
        } catch {
            return outcome(of: error, arguments)
        }
    }

    private static func outcome(of error: any Error, _ arguments: [String]) -> Outcome {
        // The process that failed has the message.
        if error is PeerFailure { return Outcome(status: .internalError) }
        if let failure = error as? any CategorizedError {
            return Outcome(
                status: ExitStatus(failure.category), message: line(String(describing: failure), arguments))
        }
        if error is CocoaError || error is POSIXError {
            return Outcome(status: .inputOutput, message: line(error.localizedDescription, arguments))
        }
        let code = BitsFusionCommand.exitCode(for: error)
        if code.isSuccess { return Outcome(status: .success, message: BitsFusionCommand.message(for: error)) }
        if code == .validationFailure {
            if let name = unknownCommand(arguments) { return unknown(name, arguments) }
            if let text = unknownOption(arguments) { return Outcome(status: .usage, message: line(text, arguments)) }
            let text = usageText(BitsFusionCommand.message(for: error))
            // Texts with a next step need no other one.
            let nextStep = text.contains("; ") ? "" : "; see `\(helpCommand(arguments))`"
            return Outcome(status: .usage, message: line(text + nextStep, arguments))
        }
        return Outcome(status: .internalError, message: line("internal error: \(error)", arguments))
    }

    /// The texts of ArgumentParser in the form of all others: `OPTION: what is wrong: expected X, found Y`.
    private static func usageText(_ text: String) -> String {
        let choice = #/The value '(.*)' is invalid for '([^ ']+)[^']*'\. Please provide one of (.*)\./#
        if let match = text.wholeMatch(of: choice) {
            return "\(match.2): invalid value: expected one of \(match.3), found '\(match.1)'"
        }
        // Many values are printed one a line, each after a dash.
        let list = #/The value '(.*)' is invalid for '([^ ']+)[^']*'\. Please provide one of the following:((?s).*)/#
        if let match = text.wholeMatch(of: list) {
            let values = match.3.split(whereSeparator: \.isNewline).map { $0.drop { " -".contains($0) } }
                .filter { !$0.isEmpty }
            return "\(match.2): invalid value: expected one of "
                + values.map { "'\($0)'" }.joined(separator: ", ") + ", found '\(match.1)'"
        }
        if let match = text.wholeMatch(of: #/The value '(.*)' is invalid for '([^ ']+)[^']*'/#) {
            return "\(match.2): invalid value: found '\(match.1)'"
        }
        if let match = text.wholeMatch(of: #/Missing expected argument '([^']*)'/#) { return "\(match.1): missing" }
        return text
    }

    private static func unknown(_ command: String, _ arguments: [String]) -> Outcome {
        Outcome(
            status: .usage, message: line("\(command): unknown command; see `bitsfusion --help`", arguments))
    }

    /// The first unknown option, which explains most other errors of a command line.
    private static func unknownOption(_ arguments: [String]) -> String? {
        let name = commandName(arguments)
        guard let names = OptionNames(of: name),
            let option = names.unknownOption(in: arguments.dropFirst(name == nil ? 0 : 1))
        else { return nil }
        let help = "see `\(helpCommand(arguments))`"
        return "\(option): unknown option; " + (names.suggestion(for: option).map { "did you mean \($0)?" } ?? help)
    }

    private static func line(_ text: String, _ arguments: [String]) -> String {
        let name = commandName(arguments).map { " " + $0 } ?? ""
        let words = text.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }
        return "bitsfusion\(name): \(words.joined(separator: " "))"
    }

    private static func helpCommand(_ arguments: [String]) -> String {
        "bitsfusion" + (commandName(arguments).map { " " + $0 } ?? "") + " --help"
    }

    private static func unknownCommand(_ arguments: [String]) -> String? {
        guard let first = arguments.first, !first.hasPrefix("-"), first != "help" else { return nil }
        return commandName(arguments) == nil ? first : nil
    }

    private static func unknownHelpCommand(_ arguments: [String]) -> String? {
        guard arguments.first == "help", let name = arguments.dropFirst().first(where: { !$0.hasPrefix("-") }),
            name != "help", commandName([name]) == nil
        else { return nil }
        return name
    }

    private static func commandName(_ arguments: [String]) -> String? {
        let names = BitsFusionCommand.configuration.subcommands.compactMap { $0.configuration.commandName }
        return arguments.first.flatMap { names.contains($0) ? $0 : nil }
    }
}
