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
    private let isEnding: @Sendable () -> Bool
    /// Set before `start`.
    var hosts: [String] = []

    private let state = Mutex(State())
    private struct State {
        var operation: String?
        var start = ContinuousClock.now
        /// When each process was given the task that it works on, in process 0.
        var tasks: [Int32: ContinuousClock.Instant] = [:]
        var isStopped = false
    }

    /// Seconds that a process has for its answer.
    private static let patience = 5.0
    /// Seconds between two looks of this thread that only a stopped process exceeds.
    private static let longestPause = 2.0

    /// - Parameters:
    ///   - adapter: that of a started MPI.
    ///   - deadline: in seconds.
    ///   - warn: prints a line.
    ///   - isEnding: whether this process has been told to end, as the launcher does after another one has spoken.
    init(
        _ adapter: bf_mpi_adapter, deadline: Double, warn: @escaping @Sendable (String) -> Void,
        isEnding: @escaping @Sendable () -> Bool
    ) {
        self.adapter = adapter
        self.deadline = deadline
        self.warn = warn
        self.isEnding = isEnding
    }

    /// Runs `body` under observation.
    func watching<Result>(_ operation: String, _ body: () throws -> Result) rethrows -> Result {
        state.withLock { ($0.operation, $0.start) = (operation, .now) }
        defer { state.withLock { $0.operation = nil } }
        return try body()
    }

    /// Process 0 has given a task to another process, which is watched until `taskEnded`.
    func taskStarted(by rank: Int32) { state.withLock { $0.tasks[rank] = .now } }

    func taskEnded(by rank: Int32) { _ = state.withLock { $0.tasks.removeValue(forKey: rank) } }

    func start() {
        let thread = Thread { [self] in
            var last = ContinuousClock.now
            while !state.withLock({ $0.isStopped }) {
                // A process that was stopped itself has no reason to miss others.
                if ContinuousClock.now - last > .seconds(Self.longestPause) { restart() }
                if adapter.has_threads { adapter.answer_roll_call() }
                if let late = overdue() { check(late) }
                last = .now
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

    private enum Late: Equatable {
        /// This process waits in an operation.
        case operation(String)
        /// This process, 0, works on, and others have not returned their tasks.
        case tasks

        var description: String {
            switch self {
            case .operation(let name): name
            case .tasks: "distribution of tasks"
            }
        }
    }

    /// What has exceeded the deadline.
    private func overdue() -> Late? {
        state.withLock { state in
            func isLate(_ start: ContinuousClock.Instant) -> Bool {
                (ContinuousClock.now - start) / .seconds(1) > deadline
            }
            if let operation = state.operation, isLate(state.start) { return .operation(operation) }
            return state.tasks.values.contains(where: isLate) ? .tasks : nil
        }
    }

    /// Waits for another deadline.
    private func restart() {
        state.withLock { state in
            state.start = .now
            state.tasks = state.tasks.mapValues { _ in .now }
        }
    }

    private func check(_ late: Late) {
        let size = Int(adapter.size), rank = Int(adapter.rank)
        let waited = "no answer for \(Int(deadline)) s in the \(late.description)"
        guard adapter.has_threads else {
            warn("\(waited); this MPI library cannot tell which process does not answer")
            return restart()
        }
        var answered = [Bool](repeating: false, count: size)
        let asked = ContinuousClock.now
        adapter.roll_call(Self.patience, &answered)
        if ContinuousClock.now - asked > .seconds(Self.patience + Self.longestPause) { return restart() }
        let missing = answered.indices.filter { !answered[$0] }
        // The operation may have ended meanwhile.
        guard overdue() != nil else { return }
        // One process speaks: the first of those that wait. They do not know which ones wait, and let the others speak
        // first; the one that speaks ends the job, for which the launcher takes some seconds.
        let others = answered[..<rank].count { $0 }
        guard !missing.isEmpty else {
            // Long tasks are no reason to speak.
            if late != .tasks, others == 0 {
                warn("\(late.description): waiting for more than \(Int(deadline)) s; all processes answer")
            }
            return restart()
        }
        Thread.sleep(forTimeInterval: min(Self.turn * Double(others), Self.longestTurn))
        if isEnding() { Thread.sleep(forTimeInterval: Self.longestTurn) }
        guard overdue() != nil else { return }
        let names = missing.map { "process \($0) of \(size) on \(hosts.indices.contains($0) ? hosts[$0] : "?")" }
        warn(
            "\(names.joined(separator: ", ")): \(waited); the job ends; start it again with --resume, also with "
                + "another number of processes")
        adapter.abort(EX_SOFTWARE)
    }

    /// Seconds that a process leaves to each process before it, and to all of them.
    private static let turn = 3.0, longestTurn = 15.0
}
