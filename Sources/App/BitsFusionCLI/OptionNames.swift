// SPDX-License-Identifier: Apache-2.0
// The options of every command. ArgumentParser reports an unknown option only after all others were checked, so that a
// misspelled `--prompt` shows as a missing prompt; with these names it is reported first.

import ArgumentParser
import Foundation

/// The names of the options of one command.
struct OptionNames: Equatable {
    /// With their dashes.
    let all: Set<String>
    /// Those that take a value.
    let valued: Set<String>

    /// The options of `command`; nil for an unknown command. Without a command, those of the program.
    init?(of command: String?) {
        let dump = BitsFusionCommand.message(for: CleanExit.helpDump)
        guard let tool = try? JSONDecoder().decode(Tool.self, from: Data(dump.utf8)) else { return nil }
        let found = command == nil ? tool.command : tool.command.subcommands?.first { $0.commandName == command }
        guard let options = found?.arguments?.filter({ $0.kind != "positional" }) else { return nil }
        all = Set(options.flatMap(\.dashed))
        valued = Set(options.filter { $0.kind == "option" }.flatMap(\.dashed))
    }

    init(all: Set<String>, valued: Set<String>) { (self.all, self.valued) = (all, valued) }

    /// The first option in `arguments` that is not one of these, without its value.
    func unknownOption(in arguments: some Sequence<String>) -> String? {
        var isValue = false
        for argument in arguments {
            if argument == "--" { return nil }
            let name = String(argument.prefix { $0 != "=" })
            let isOption = argument.hasPrefix("--") || Self.isShort(argument)
            if isOption, all.contains(name) {
                isValue = name == argument && valued.contains(name)
            } else if isValue || !isOption {
                // Values may begin with a dash, such as negative numbers.
                isValue = false
            } else {
                return name
            }
        }
        return nil
    }

    /// The name that `option` is the beginning of, or probably a misspelling of: one letter away, two for names of six
    /// letters and more.
    func suggestion(for option: String) -> String? {
        let continued = all.filter { $0.hasPrefix(option) }
        if option.count > 3, continued.count == 1 { return continued.first }
        let limit = option.count < 8 ? 1 : 2
        return all.filter { $0.hasPrefix("--") }.map { ($0, Self.distance($0, option)) }
            .filter { $0.1 <= limit }.min { ($0.1, $0.0) < ($1.1, $1.0) }?.0
    }

    /// `-q`; -1 is a number, and `-qo` are several options, which ArgumentParser takes apart.
    private static func isShort(_ argument: String) -> Bool {
        argument.count == 2 && argument.first == "-" && argument.last?.isLetter == true
    }

    /// The number of letters to insert, delete or replace (Levenshtein).
    private static func distance(_ a: String, _ b: String) -> Int {
        let (a, b) = (Array(a), Array(b))
        var row = Array(0...b.count)
        for i in a.indices {
            var diagonal = row[0]
            row[0] = i + 1
            for j in b.indices {
                let above = row[j + 1]
                row[j + 1] = min(above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1))
                diagonal = above
            }
        }
        return row[b.count]
    }
}

extension CleanExit {
    /// ArgumentParser's description of all commands as JSON, which `--experimental-dump-help` prints.
    fileprivate static var helpDump: any Error {
        do {
            _ = try BitsFusionCommand.parseAsRoot(["--experimental-dump-help"])
            return ExitCode.failure
        } catch {
            return error
        }
    }
}

/// The part of ArgumentParser's description that is read.
private struct Tool: Decodable {
    let command: Command

    struct Command: Decodable {
        let commandName: String
        let subcommands: [Command]?
        let arguments: [Argument]?
    }

    struct Argument: Decodable {
        let kind: String
        let names: [Name]?

        /// `--steps`, `-o`.
        var dashed: [String] { (names ?? []).map { ($0.kind == "long" ? "--" : "-") + $0.name } }
    }

    struct Name: Decodable {
        let kind: String
        let name: String
    }
}
