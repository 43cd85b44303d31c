// SPDX-License-Identifier: Apache-2.0
// Ctrl-C and termination requests as a flag that long loops look at between steps, so that they can save their state.

import BitsFusion
import Foundation
import Synchronization

/// The user asked the program to stop.
struct Interrupted: CategorizedError {
    /// What is left, such as "state saved to stage1.h5; continue with --resume".
    var note = "nothing was written"

    var category: ErrorCategory { .interrupted }
    var description: String { "interrupted; \(note)" }
}

private let isInterrupted = Atomic<Bool>(false)

/// Whether the user asked the program to stop.
enum InterruptFlag {
    /// Turns the first SIGINT and SIGTERM into the flag. The second one kills, as does the first one in commands that
    /// never call this.
    static func install() {
        // The handler may only touch what exists: makes the lazily created global before any signal can arrive.
        isInterrupted.store(false, ordering: .relaxed)
        var action = sigaction()
        #if canImport(Darwin)
            action.__sigaction_u.__sa_handler = { _ in isInterrupted.store(true, ordering: .relaxed) }
            action.sa_flags = Int32(SA_RESETHAND)
        #else
            action.__sigaction_handler.sa_handler = { _ in isInterrupted.store(true, ordering: .relaxed) }
            action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
        #endif
        sigaction(SIGINT, &action, nil)
        sigaction(SIGTERM, &action, nil)
    }

    /// Whether a signal has arrived: finish the step, save, and throw `Interrupted`.
    static var isSet: Bool { isInterrupted.load(ordering: .relaxed) }

    /// Stops a loop that has nothing to save.
    ///
    /// - Throws: `Interrupted`.
    static func check() throws {
        if isSet { throw Interrupted() }
    }
}
