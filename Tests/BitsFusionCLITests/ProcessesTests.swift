// SPDX-License-Identifier: Apache-2.0
// The lines that end a run of several processes.

import BitsFusion
import Testing

@testable import BitsFusionCLI

@Suite struct ProcessesTests {
    private func report(_ rank: Int, _ message: String?, _ status: BitsFusionCLI.ExitStatus = .badData) -> ProcessReport
    {
        ProcessReport(rank: rank, host: "node\(rank)", status: status.rawValue, message: message)
    }

    @Test("an error names its process, unless all processes have it; equal errors are printed once")
    func errors() {
        #expect(
            Processes.lines(of: [report(1, "disk full")], processes: 2) == ["disk full (process 1 of 2 on node1)"])
        #expect(Processes.lines(of: [report(0, "no file"), report(1, "no file")], processes: 2) == ["no file"])
        #expect(
            Processes.lines(of: [report(1, "no file"), report(2, "no file")], processes: 3)
                == ["no file (process 1 of 3 on node1)"])
        // One is the beginning of the other.
        #expect(
            Processes.lines(of: [report(0, "no file: a"), report(1, "no file")], processes: 2)
                == ["no file: a (process 0 of 2 on node0)", "no file (process 1 of 2 on node1)"])
        #expect(Processes.lines(of: [report(0, nil)], processes: 2).isEmpty)
    }

    @Test("an interruption is printed once and names no process")
    func interruption() {
        let reports = [1, 2].map { report($0, "interrupted", .interrupted) }
        #expect(Processes.lines(of: reports, processes: 4) == ["interrupted"])
    }

    @Test("long values that differ late are shown from there")
    func excerpts() {
        let text = String(repeating: "x", count: 200)
        #expect(Processes.excerpts("avx2", "portable") == ("avx2", "portable"))
        let (a, b) = Processes.excerpts(text + "seed 1", text + "seed 2")
        let kept = String(repeating: "x", count: 15)
        #expect(a == "...\(kept)seed 1" && b == "...\(kept)seed 2")
        #expect(Processes.excerpts("same", "same and more") == ("same", "same and more"))
    }
}
