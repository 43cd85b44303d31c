// SPDX-License-Identifier: Apache-2.0
// Help pages and the parts of the program that need no files, tested in this process.

import ArgumentParser
import Foundation
import Testing

@testable import BitsFusionCLI

@Suite("Help and reports")
struct HelpTests {
    @Test("every command has a help page with an example of itself")
    func helpPages() throws {
        let names = BitsFusionCommand.subcommands.compactMap { $0.configuration.commandName }
        #expect(names.count == BitsFusionCommand.subcommands.count)
        #expect(Set(names).count == names.count)
        for (name, command) in zip(names, BitsFusionCommand.subcommands) {
            let page = BitsFusionCommand.helpMessage(for: command)
            #expect(page.contains("bitsfusion \(name)"), "\(name)")
            #expect(command.configuration.discussion.contains("bitsfusion \(name)"), "\(name) has no example")
            let outcome = CommandMain.outcome(of: [name, "--help"])
            #expect(outcome.status == .success)
            #expect(outcome.message?.contains("USAGE: bitsfusion \(name)") == true, "\(name)")
        }
    }

    @Test("errors of unknown types end as internal errors, and statuses are those of sysexits")
    func statuses() {
        #expect(RecipeErrorCase.allCases.map(\.status) == [66, 73, 74, 65, 66])
        #expect(ExitStatus(Interrupted().category).rawValue == 130)
    }

    @Test("tables align their columns and end lines without spaces")
    func tables() {
        var table = TextTable(["name", "n"])
        table.add(["a", "10"])
        table.add(["long name"])
        #expect(table.lines == ["name        n", "a          10", "long name"])
    }

    @Test("numbers read as people write them")
    func numbers() {
        #expect(Numbers.grouped(0) == "0")
        #expect(Numbers.grouped(-1_234_567) == "-1,234,567")
        #expect(Numbers.bytes(999) == "999 bytes")
        #expect(Numbers.bytes(999_960) == "1.0 MB")
        #expect(Numbers.bytes(219_000_000) == "219.0 MB")
    }
}
