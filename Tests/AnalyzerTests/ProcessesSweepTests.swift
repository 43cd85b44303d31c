// SPDX-License-Identifier: Apache-2.0
// A sweep by several processes ends with the table of one process, also after an interruption.

import Communication
import Foundation
import Recipes
import Synchronization
import TestKit
import Testing

@testable import Analyzer

/// What all processes see.
private final class Signal: Sendable {
    let isSet = Mutex(false)
}

@Suite struct ProcessesSweepTests {
    @Test("1 to 3 processes write the same file, with all measures", .slow)
    func anyNumber() throws {
        let folder = try TemporaryFolder()
        let tables = try (1...3).map { size in
            let url = folder.url("sensitivity-\(size).json")
            let results = try ThreadCommunicator.run(size) { communicator in
                try tinySweep(TinyModel.pipeline(), bits: [1, 2], measures: [.images, .noise, .fisher])
                    .run(output: url, communicator: communicator)
            }
            #expect(results.map { $0 != nil } == (0..<size).map { $0 == 0 }, "only the first process has the table")
            #expect(!FileManager.default.fileExists(atPath: SensitivitySweep.journalPath(of: url)))
            return try Data(contentsOf: url)
        }
        #expect(tables[1] == tables[0])
        #expect(tables[2] == tables[0])
        let table = try SensitivityTable.load(contentsOf: folder.url("sensitivity-3.json"))
        #expect(
            table.layers.flatMap(\.bits.values).allSatisfy { $0.fisher ?? 0 > 0 && $0.noise != nil && $0.mse != nil })
    }

    @Test("measurements of all processes are kept when one is stopped, and continued by another number", .slow)
    func resumes() throws {
        let folder = try TemporaryFolder(), url = folder.url("sensitivity.json")
        let uninterrupted = folder.url("uninterrupted.json")
        _ = try tinySweep(TinyModel.pipeline(), bits: [1]).run(output: uninterrupted)
        // The signal reaches all processes.
        let signal = Signal()
        let done = try ThreadCommunicator.run(2) { communicator in
            var count = 0
            let table = try tinySweep(TinyModel.pipeline(), bits: [1])
                .run(
                    output: url, communicator: communicator,
                    progress: { progress in
                        count = progress.done
                        if count >= 3 { signal.isSet.withLock { $0 = true } }
                    }, shouldStop: { signal.isSet.withLock { $0 } })
            #expect(table == nil)
            return count
        }
        #expect(done[0] >= 3)
        let journal = try String(contentsOfFile: SensitivitySweep.journalPath(of: url), encoding: .utf8)
        #expect(journal.split(separator: "\n").count == 1 + done[0])
        _ = try ThreadCommunicator.run(3) { communicator in
            try tinySweep(TinyModel.pipeline(), bits: [1])
                .run(output: url, unfinished: .resumed, communicator: communicator)
        }
        #expect(try Data(contentsOf: url) == Data(contentsOf: uninterrupted))
    }

    @Test("an error of a process ends the sweep in all of them, and keeps what is measured")
    func failure() throws {
        let folder = try TemporaryFolder(), url = folder.url("missing/sensitivity.json")
        #expect(throws: SensitivityError.self) {
            try ThreadCommunicator.run(2) { communicator in
                try tinySweep(TinyModel.pipeline(), bits: [1]).run(output: url, communicator: communicator)
            }
        }
    }
}
