// SPDX-License-Identifier: Apache-2.0
// What a file records of its run does not depend on whether the run was resumed.

import Foundation
import TestKit
import Testing

@Suite struct ResumedManifestTests {
    @Test("training writes the same bytes with --resume as without", .slow)
    func sameBytes() throws {
        let configs = URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Configs")
        let train = [
            "train", "--config", configs.appendingPathComponent("shapes.yaml").path, "--steps", "1", "-o",
            "t.h5",
        ]
        let (whole, resumed) = (try TemporaryFolder(), try TemporaryFolder())
        let first = try whole.run(train)
        #expect(first.status == 0, "\(first.errors)")
        let second = try resumed.run(train + ["--resume"])
        #expect(second.errors.contains("t.h5 does not exist; starting from scratch"))
        #expect(try whole.data("t.h5") == resumed.data("t.h5"))
    }
}
