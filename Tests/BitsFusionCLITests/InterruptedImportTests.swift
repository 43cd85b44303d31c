// SPDX-License-Identifier: Apache-2.0
// Ctrl-C at any time of a command that writes one file: the file is complete, or nothing is left behind.

import Foundation
import TestKit
import Testing

@Suite struct InterruptedImportTests {
    @Test("an import that is interrupted at any time leaves nothing, or the complete model", .slow)
    func interrupted() throws {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        let exported = try folder.run("export", "model.h5", "-o", "unet")
        try #require(exported.status == 0, "\(exported.errors)")
        let before = folder.names
        for attempt in 0..<40 {
            let run = try folder.run(
                ["import", "unet", "-o", "again.h5"], killedAfter: Double(attempt) / 1000, by: SIGINT)
            // Before the program handles signals, the system ends it.
            #expect([0, SIGINT, 130].contains(run.status), "\(run.errors)")
            if run.status == 0 {
                #expect(folder.names == (before + ["again.h5"]).sorted())
                try FileManager.default.removeItem(atPath: folder.file("again.h5"))
            }
            #expect(folder.names == before)
        }
    }
}
