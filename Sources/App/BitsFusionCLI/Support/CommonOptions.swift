// SPDX-License-Identifier: Apache-2.0
// Options that every working command has.

import ArgumentParser
import BitsFusion

struct CommonOptions: ParsableArguments {
    @Option(help: "Threads to compute with (default: BITSFUSION_THREADS, else all processors).")
    var threads: Int?

    @Flag(name: .shortAndLong, help: "Print no progress.")
    var quiet = false

    func validate() throws {
        if let threads, !(1...1024).contains(threads) {
            throw ValidationError("--threads: expected 1 to 1024, found \(threads)")
        }
    }

    /// Makes the options take effect; the first thing a command does.
    func apply() {
        if let threads { Threads.count = threads }
    }

    /// A reporter of `total` steps called `unit` ("layers") that keeps silent where `--quiet` was given.
    func progress(_ label: String, total: Int, unit: String) -> ProgressReporter {
        ProgressReporter(label, total: total, unit: unit, isQuiet: quiet)
    }
}
