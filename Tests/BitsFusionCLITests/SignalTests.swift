// SPDX-License-Identifier: Apache-2.0
// Signals to commands that hold locks but have no loop that checks for them: nothing is left behind.

import Foundation
import TestKit
import Testing

@Suite struct SignalTests {
    /// A folder with part.json, and the arguments of a merge that takes seconds and locks whole.json at its start.
    private func longMerge() throws -> (TemporaryFolder, [String]) {
        let folder = try TemporaryFolder()
        let layers = (0..<2000).map {
            #"{"path": "a\#($0)", "kind": "linear", "weights": 9, "skewness": 0, "bits": {"1": {"mse": 0.1}}}"#
        }
        try folder.write(
            "part.json",
            #"{"format": "bitsfusion-sensitivity", "version": 2, "layers": [\#(layers.joined(separator: ", "))]}"#)
        return (folder, ["merge"] + Array(repeating: "part.json", count: 40) + ["-o", "whole.json"])
    }

    @Test("signals end commands without loops, and remove their locks", arguments: [SIGINT, SIGTERM, SIGHUP])
    func locks(signal: Int32) throws {
        let (folder, arguments) = try longMerge()
        let run = try folder.run(arguments, signalledBy: "whole.json.lock", signal)
        #expect(run.status == 130 && run.output.isEmpty)
        #expect(run.errorLines == ["bitsfusion: interrupted; unfinished files were removed"])
        #expect(folder.names == ["part.json"])
    }

    @Test("a run that nohup started goes on when its terminal ends")
    func ignoredHangup() throws {
        let (folder, arguments) = try longMerge()
        let run = try folder.run(
            shell: """
                trap '' HUP
                "$0" "$@" &
                while [ ! -e whole.json.lock ]; do sleep 0.01; done
                kill -HUP $!
                wait $!
                """, arguments)
        #expect(run.status == 0 && run.errors.isEmpty, "\(run.errors)")
        #expect(folder.names == ["part.json", "whole.json"])
    }
}
