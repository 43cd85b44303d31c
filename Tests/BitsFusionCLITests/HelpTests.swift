// SPDX-License-Identifier: Apache-2.0
// Help pages, and the parts of the program that need no files, tested in this process.

import ArgumentParser
import BitsFusion
import Foundation
import Testing

@testable import BitsFusionCLI

@Suite("Help and reports")
struct HelpTests {
    static let names = BitsFusionCommand.subcommands.compactMap { $0.configuration.commandName }

    @Test("every command has a name of its own")
    func commandNames() {
        #expect(Self.names.count == BitsFusionCommand.subcommands.count)
        #expect(Set(Self.names).count == Self.names.count)
    }

    @Test("a help page is the recorded one, and `COMMAND --help` prints it", arguments: names)
    func helpPage(name: String) throws {
        let command = try #require(BitsFusionCommand.subcommands.first { $0.configuration.commandName == name })
        try Snapshot(name: "help-\(name)").expect(BitsFusionCommand.helpMessage(for: command, columns: 80) + "\n")
        let outcome = CommandMain.outcome(of: [name, "--help"])
        #expect(outcome.status == .success)
        #expect(outcome.message == BitsFusionCommand.helpMessage(for: command))
    }

    @Test("the help page of the program is the recorded one")
    func rootPage() throws {
        try Snapshot(name: "help").expect(BitsFusionCommand.helpMessage(columns: 80) + "\n")
    }

    @Test("a help page starts with at most 60 characters and has two examples", arguments: names)
    func helpShape(name: String) throws {
        let command = try #require(BitsFusionCommand.subcommands.first { $0.configuration.commandName == name })
        #expect((1...60).contains(command.configuration.abstract.count))
        let examples = command.configuration.discussion.components(separatedBy: "Examples:\n").dropFirst()
        #expect(examples.count == 1)
        let lines = try #require(examples.first).split(separator: "\n")
        #expect(lines.count { $0.hasPrefix("  bitsfusion ") } >= 2)
        #expect(lines.first?.hasPrefix("  bitsfusion \(name)") == true)
        // Lines of code are not wrapped at 80 columns.
        #expect(lines.allSatisfy { $0.count <= 80 })
    }

    @Test("errors of each category have their exit status")
    func statuses() {
        let errors: [(any CategorizedError, Int32)] = [
            (RecipeError.fileMissing, 66), (RecipeError.unwritable(reason: "full"), 73),
            (RecipeError.writeFailed(reason: "full", hadFile: false), 74),
            (RecipeError.unreadable(reason: "denied"), 74), (RecipeError.unknownLayer(path: "a"), 65),
            (RecipeError.inFile(name: "x.json", .fileMissing), 66), (Interrupted(), 130),
            (CommandError(.usage, "a"), 64), (CommandError(.internalError, "a"), 70),
        ]
        for (error, status) in errors { #expect(ExitStatus(error.category).rawValue == status, "\(error)") }
    }

    @Test("the first unknown option is found behind values, and named with the one that was meant")
    func unknownOptions() throws {
        let names = OptionNames(
            all: ["--prompt", "--steps", "--quiet", "-q", "--help"], valued: ["--prompt", "--steps"])
        let cases: [(String, String?)] = [
            ("shapes --prompt x --steps 5 -q", nil), ("shapes --promt x --stepz 5", "--promt"),
            ("--steps -1", nil), ("--steps=-1 --step=3", "--step"), ("--prompt --loud", nil), ("-q -x", "-x"),
            ("-- --loud", nil), ("-qx", nil), ("-1 --quiet", nil),
        ]
        for (arguments, unknown) in cases {
            #expect(
                names.unknownOption(in: arguments.split(separator: " ").map(String.init)) == unknown, "\(arguments)")
        }
        for (option, meant) in [
            ("--promt", "--prompt"), ("--step", "--steps"), ("--budget", nil), ("--hlep", nil), ("--hel", "--help"),
            ("--qiuet", nil), ("--pormpt", "--prompt"), ("--qui", "--quiet"), ("-x", nil),
        ] { #expect(names.suggestion(for: option) == meant, "\(option)") }
        let own = try #require(OptionNames(of: "distill"))
        #expect(own.all.isSuperset(of: ["--stage", "--output", "-o", "--quiet", "-q", "--help", "-h", "--version"]))
        #expect(own.valued.contains("--stage") && !own.valued.contains("--resume"))
        #expect(OptionNames(of: "sing") == nil)
        #expect(OptionNames(of: nil)?.all.contains("--version") == true)
    }

    @Test("help of an unknown command is an error")
    func unknownHelp() {
        #expect(CommandMain.outcome(of: ["help", "nosuch"]).status == .usage)
        #expect(CommandMain.outcome(of: ["help", "sample"]).status == .success)
        #expect(CommandMain.outcome(of: ["help"]).status == .success)
        #expect(CommandMain.outcome(of: ["help", "--help"]).status == .success)
    }

    @Test("tables align their columns and end lines without spaces")
    func tables() {
        var table = TextTable(["name", "n"])
        table.add(["a", "10"])
        table.add(["long name"])
        #expect(table.lines == ["name        n", "a          10", "long name"])
    }

    @Test("numbers are grouped, bytes have units, times have units")
    func numbers() {
        #expect(Numbers.grouped(0) == "0")
        #expect(Numbers.grouped(-1_234_567) == "-1,234,567")
        #expect(Numbers.bytes(999) == "999 bytes")
        #expect(Numbers.bytes(999_960) == "1.0 MB")
        #expect(Numbers.bytes(219_000_000) == "219.0 MB")
        #expect(Numbers.time(59) == "59 s" && Numbers.time(185) == "3:05 min" && Numbers.time(4800) == "1:20 h")
        #expect(Numbers.median([3, 1, 2]) == 2 && Numbers.median([4, 1, 2, 3]) == 2.5)
    }
}
