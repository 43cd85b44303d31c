// SPDX-License-Identifier: Apache-2.0
// Interrupted analyses: what is kept, what continues, and what is refused.

import Foundation
import Recipes
import TestKit
import Testing

@testable import Analyzer

@Suite struct SensitivityResumeTests {
    private let pattern = "conv_in|to_q$|to_k$"

    private func sweep(
        bits: [Int] = [1, 3], steps: Int = 2, commandLine: [String] = ["test"]
    ) throws -> SensitivitySweep {
        try tinySweep(
            TinyModel.pipeline(), clip: tinyClip(), bits: bits, layers: pattern, steps: steps,
            commandLine: commandLine)
    }

    /// Runs until `count` candidates are done.
    private func interrupt(
        _ sweep: SensitivitySweep, after count: Int, output: URL, unfinished: UnfinishedAnalysis = .refused
    )
        throws
    {
        var done = 0
        let table = try sweep.run(
            output: output, unfinished: unfinished, progress: { done = $0.done },
            shouldStop: { done >= count })
        #expect(table == nil)
        #expect(done == count)
        #expect(!FileManager.default.fileExists(atPath: output.path))
    }

    private func exists(_ output: URL) -> (table: Bool, journal: Bool) {
        let files = FileManager.default
        return (
            files.fileExists(atPath: output.path),
            files.fileExists(atPath: SensitivitySweep.journalPath(of: output))
        )
    }

    /// The bytes of the table of an uninterrupted run.
    private func wholeTable() throws -> Data {
        var bytes = Data()
        try TemporaryFolder.with { folder in
            let output = folder.url("whole.json")
            #expect(try sweep().run(output: output) != nil)
            #expect(exists(output) == (true, false))
            bytes = try Data(contentsOf: output)
        }
        return bytes
    }

    @Test("an analysis interrupted anywhere, twice, and with a torn line ends with the same bytes", .slow)
    func sameBytes() throws {
        let whole = try wholeTable()
        let total = try sweep().candidates.count
        for count in [0, 1, total / 2, total - 1] {
            try TemporaryFolder.with { folder in
                let output = folder.url("sensitivity.json")
                try interrupt(sweep(), after: count, output: output)
                #expect(exists(output) == (false, true))
                try tear(output)
                if count + 1 < total {
                    try interrupt(
                        sweep(commandLine: ["test", "--resume"]), after: count + 1, output: output,
                        unfinished: .resumed)
                }
                var first: Int?
                let resumed = try sweep(commandLine: ["test", "--resume"])
                let table = try resumed.run(
                    output: output, unfinished: .resumed, progress: { first = first ?? $0.done })
                #expect(table != nil && first == min(count + 1, total - 1))
                #expect(try Data(contentsOf: output) == whole, "interrupted after \(count)")
                #expect(exists(output) == (true, false))
            }
        }
    }

    /// Adds the beginning of a line, as a crash in the middle of writing would.
    private func tear(_ output: URL) throws {
        let handle = try FileHandle(
            forWritingTo: URL(fileURLWithPath: SensitivitySweep.journalPath(of: output)))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data(#"{"bits": 1, "measure": {"mse": 0.0"#.utf8))
        try handle.close()
    }

    @Test("resuming where nothing was begun is an analysis from the start") func nothingToResume() throws {
        let whole = try wholeTable()
        try TemporaryFolder.with { folder in
            let output = folder.url("sensitivity.json")
            let table = try sweep().run(output: output, unfinished: .resumed)
            #expect(table != nil)
            #expect(try Data(contentsOf: output) == whole)
        }
    }

    @Test("measurements are only thrown away when asked to, a journal without any always is")
    func unfinished() throws {
        try TemporaryFolder.with { folder in
            let output = folder.url("sensitivity.json")
            let journal = SensitivitySweep.journalPath(of: output)
            try interrupt(sweep(), after: 0, output: output)
            try interrupt(sweep(), after: 2, output: output)
            let before = try Data(contentsOf: URL(fileURLWithPath: journal))
            #expect(throws: SensitivityError.unfinished(journal: journal, done: 2)) {
                try sweep().run(output: output)
            }
            #expect(try Data(contentsOf: URL(fileURLWithPath: journal)) == before)
            try interrupt(sweep(), after: 1, output: output, unfinished: .overwritten)
            #expect(throws: SensitivityError.unfinished(journal: journal, done: 1)) {
                try sweep().run(output: output)
            }
        }
    }

    @Test("a journal of other bits or steps is refused, naming the difference") func differentRun() throws {
        try TemporaryFolder.with { folder in
            let output = folder.url("sensitivity.json")
            let journal = SensitivitySweep.journalPath(of: output)
            try interrupt(sweep(), after: 1, output: output)
            #expect(
                throws: SensitivityError.differentRun(
                    journal: journal, option: "bits", saved: "1,3", requested: "2")
            ) { try sweep(bits: [2]).run(output: output, unfinished: .resumed) }
            #expect(
                throws: SensitivityError.differentRun(
                    journal: journal, option: "steps", saved: "2", requested: "3")
            ) { try sweep(steps: 3).run(output: output, unfinished: .resumed) }
        }
    }

    @Test("a damaged line and a line of another run are refused by number") func damaged() throws {
        for line in ["{\"bits\": 1}", "", "{\"bits\":1,\"measure\":null,\"path\":\"elsewhere\"}"] {
            try TemporaryFolder.with { folder in
                let output = folder.url("sensitivity.json")
                let journal = URL(fileURLWithPath: SensitivitySweep.journalPath(of: output))
                try interrupt(sweep(), after: 2, output: output)
                var lines = try String(contentsOf: journal, encoding: .utf8).components(separatedBy: "\n")
                lines[2] = line
                try lines.joined(separator: "\n").write(to: journal, atomically: true, encoding: .utf8)
                let error = #expect(throws: SensitivityError.self) {
                    _ = try sweep().run(output: output, unfinished: .resumed)
                }
                guard case .journalLine(_, let number, _) = error else {
                    Issue.record("\(String(describing: error))")
                    return
                }
                #expect(number == 3)
            }
        }
    }

    @Test("a candidate without finite images stays out of the table and is reported") func unusable() throws {
        try TemporaryFolder.with { folder in
            let output = folder.url("sensitivity.json")
            let journal = URL(fileURLWithPath: SensitivitySweep.journalPath(of: output))
            try interrupt(sweep(), after: 3, output: output)
            var lines = try String(contentsOf: journal, encoding: .utf8).components(separatedBy: "\n")
            let candidate = try sweep().candidates[2]
            lines[3] = "{\"bits\":\(candidate.bits),\"measure\":null,\"path\":\"\(candidate.path)\"}"
            try lines.joined(separator: "\n").write(to: journal, atomically: true, encoding: .utf8)
            let resumed = try sweep()
            let table = try #require(try resumed.run(output: output, unfinished: .resumed))
            #expect(resumed.unusable == [candidate])
            let layer = try #require(table.layers.first { $0.path == candidate.path })
            #expect(layer.bits.keys.sorted() == [BitWidth(1), BitWidth(3)].filter { $0 != candidate.bits })
            #expect(try SensitivityTable.load(contentsOf: output) == table)
        }
    }

    @Test("a finished table is known as the answer to its own analysis and to no other") func finished()
        throws
    {
        let table = try #require(try sweep().run())
        #expect(try sweep(commandLine: ["test", "--resume"]).isFinished(in: table))
        #expect(try !sweep(bits: [1]).isFinished(in: table))
        #expect(try !sweep(steps: 3).isFinished(in: table))
        var other = table
        other.model = FileReference(path: "tiny.h5", sha256: String(repeating: "b", count: 64))
        #expect(try !sweep().isFinished(in: other))
        other = table
        other.layers.removeLast()
        #expect(try !sweep().isFinished(in: other))
    }

    @Test("an output folder that does not exist is found before anything is measured") func noFolder() throws {
        let output = URL(fileURLWithPath: "/nonexistent/sensitivity.json")
        let error = #expect(throws: SensitivityError.self) {
            try sweep().run(output: output, shouldStop: { true })
        }
        #expect(error?.description.contains("/nonexistent/sensitivity.json.partial") == true)
    }
}
