// SPDX-License-Identifier: Apache-2.0
// Analyses that are killed: what was measured is kept, and the end is the same file.

import Foundation
import TestKit
import Testing

@Suite struct KilledAnalysisTests {
    @Test(
        "an analysis that is killed ten times and resumed writes the bytes of an uninterrupted one", .slow,
        arguments: [
            ["--measure", "images"], ["--measure", "noise,fisher", "--qat-steps", "1"],
        ])
    func killed(options: [String]) throws {
        let (whole, killed) = (try TemporaryFolder(), try TemporaryFolder())
        for folder in [whole, killed] {
            try folder.makeModel()
            try folder.makeEmbeddings()
        }
        let arguments =
            ["analyze", "model.h5", "--embeddings", "e.safetensors", "--steps", "2", "--quiet"] + options
        let start = Date()
        let first = try whole.run(arguments)
        let seconds = Date().timeIntervalSince(start)
        try #require(first.status == 0, "\(first.errors)")
        var kills = 0
        for _ in 0..<10 {
            let run = try killed.run(
                arguments + ["--resume"], killedAfter: Double.random(in: 0...(seconds / 4)))
            if run.status == 9 { kills += 1 }
        }
        // A loaded machine may be done early in the last few.
        #expect(kills > 3)
        let last = try killed.run(arguments + ["--resume"])
        #expect(last.status == 0, "\(last.errors)")
        #expect(try killed.data("sensitivity.json") == whole.data("sensitivity.json"))
        #expect(!killed.names.contains { $0.hasPrefix("sensitivity.json.") })
    }
}
