// SPDX-License-Identifier: Apache-2.0
// Watches the exchanges of an MPI job. A process that is stopped or cut off does not fail: without a watchdog all
// others would wait for it without end.

import CMPIAdapter
import Foundation
import Synchronization

/// A thread that asks the other processes for an answer when an exchange takes longer than a deadline, and ends the job
/// if some do not answer. Processes that answer are slow, such as one that writes a large file, and are waited for.
final class Watchdog: @unchecked Sendable {
    private let adapter: bf_mpi_adapter
    private let deadline: Double
    private let warn: @Sendable (String) -> Void
    /// Set before `start`.
    var hosts: [String] = []

    private let state = Mutex(State())
    private struct State {
        var operation: String?
        var start = ContinuousClock.now
        var isStopped = false
    }

    /// Seconds that a process has for its answer.
    private static let patience = 5.0

    init(_ adapter: bf_mpi_adapter, deadline: Double, warn: @escaping @Sendable (String) -> Void) {
        self.adapter = adapter
        self.deadline = deadline
        self.warn = warn
    }

    /// Runs `body` under observation.
    func watching<Result>(_ operation: String, _ body: () throws -> Result) rethrows -> Result {
        state.withLock { ($0.operation, $0.start) = (operation, .now) }
        defer { state.withLock { $0.operation = nil } }
        return try body()
    }

    func start() {
        let thread = Thread { [self] in
            while !state.withLock({ $0.isStopped }) {
                if adapter.has_threads { adapter.answer_roll_call() }
                if let late = overdue() { check(late) }
                Thread.sleep(forTimeInterval: 0.25)
            }
            ended.signal()
        }
        thread.name = "watchdog"
        thread.start()
    }

    private let ended = DispatchSemaphore(value: 0)

    /// Returns when the thread has ended and calls no function of MPI any more.
    func stop() {
        state.withLock { $0.isStopped = true }
        if !hosts.isEmpty { ended.wait() }
    }

    /// The operation that has exceeded the deadline.
    private func overdue() -> String? {
        state.withLock { state in
            guard let operation = state.operation, (ContinuousClock.now - state.start) / .seconds(1) > deadline else {
                return nil
            }
            return operation
        }
    }

    private func check(_ operation: String) {
        let size = Int(adapter.size), rank = Int(adapter.rank)
        let waited = "no answer for \(Int(deadline)) s in the \(operation)"
        guard adapter.has_threads else {
            warn("\(waited); this MPI library cannot tell which process does not answer; the job ends")
            return adapter.abort(EX_SOFTWARE)
        }
        var answered = [Bool](repeating: false, count: size)
        adapter.roll_call(Self.patience, &answered)
        let missing = answered.indices.filter { !answered[$0] }
        // The operation may have ended meanwhile.
        guard overdue() != nil else { return }
        let speaks = answered.indices.first { answered[$0] } == rank
        guard !missing.isEmpty else {
            if speaks { warn("\(operation): waiting for more than \(Int(deadline)) s; all processes answer") }
            return state.withLock { $0.start = .now }
        }
        if speaks {
            let names = missing.map { "process \($0) of \(size) on \(hosts.indices.contains($0) ? hosts[$0] : "?")" }
            warn(
                "\(names.joined(separator: ", ")): \(waited); the job ends; start it again with --resume, also with "
                    + "another number of processes")
        } else {
            // The speaker prints first.
            Thread.sleep(forTimeInterval: 2)
        }
        adapter.abort(EX_SOFTWARE)
    }
}
