// SPDX-License-Identifier: Apache-2.0
// Progress on standard error: one line that is redrawn on a terminal, a few lines in a log. Interruption by signals.

import BitsFusion
import Foundation
import Synchronization

/// Reports the progress of a command.
final class ProgressReporter {
    private let label: String
    private let total: Int
    private let unit: String
    private let isQuiet: Bool
    private let isTerminal: Bool
    private let start = ContinuousClock.now
    /// Steps done before a resumed run, which do not count for its speed.
    private let first: Int
    private var lastDrawn: (time: ContinuousClock.Instant, done: Int)?
    private var hasLine = false

    /// - Parameters:
    ///   - label: the activity, such as "packing".
    ///   - total: the number of steps.
    ///   - unit: the name of the steps, in the plural.
    ///   - isQuiet: prints nothing.
    ///   - first: the number of steps already done.
    init(_ label: String, total: Int, unit: String, isQuiet: Bool, first: Int = 0) {
        self.label = label
        self.total = total
        self.unit = unit
        self.isQuiet = isQuiet
        self.first = first
        isTerminal = isatty(STDERR_FILENO) == 1
    }

    deinit { endLine() }

    /// Reports that `done` steps of the total are done; `note` (a loss, a layer) follows.
    func update(_ done: Int, note: String = "") {
        guard !isQuiet, isDue(done) else { return }
        lastDrawn = (.now, done)
        let text = line(done, note)
        if isTerminal {
            Output.toStandardError("\r\(text)\u{1B}[K")
            hasLine = true
            if done >= total { endLine() }
        } else {
            Output.toStandardError(text + "\n")
        }
    }

    /// Reports the fraction of the work that is done, 0...1.
    func update(share: Double, note: String = "") {
        update(Int((share * Double(total)).rounded()), note: note)
    }

    /// Ends the line on a terminal, so that other output starts on a new one.
    func endLine() {
        guard hasLine else { return }
        Output.toStandardError("\n")
        hasLine = false
    }

    private func isDue(_ done: Int) -> Bool {
        guard let lastDrawn else {
            // Shorter work gets no line in a log.
            return isTerminal || start.duration(to: .now) > .seconds(10)
        }
        let waited = lastDrawn.time.duration(to: .now)
        if isTerminal {
            return done >= total ? hasLine || done > lastDrawn.done : waited > .milliseconds(100)
        }
        if done >= total { return done > lastDrawn.done }
        let hasAdvanced = (done - lastDrawn.done) * 10 >= total
        return waited > .seconds(60) || (waited > .seconds(10) && hasAdvanced)
    }

    private func line(_ done: Int, _ note: String) -> String {
        let seconds = Numbers.seconds(start.duration(to: .now))
        var parts = ["\(label): \(done)/\(total) \(unit)"]
        if total > 0 { parts.append("\(100 * done / total) %") }
        if done > first, seconds > 0 {
            let rate = Double(done - first) / seconds
            parts.append(Self.rate(rate))
            let left = Double(total - done) / rate
            parts.append(done < total ? "\(Numbers.time(left)) left" : "took \(Numbers.time(seconds))")
        }
        if !note.isEmpty { parts.append(note) }
        return parts.joined(separator: ", ")
    }

    private static func rate(_ perSecond: Double) -> String {
        if perSecond >= 1000 { return "\(Numbers.grouped(Int(min(perSecond, 1e15))))/s" }
        return perSecond >= 1
            ? "\(Numbers.fixed(perSecond, 1))/s" : "\(Numbers.fixed(1 / perSecond, 1)) s each"
    }
}

/// The run was stopped by a signal.
struct Interrupted: CategorizedError {
    /// What was saved, such as "state saved to stage1.h5; continue with --resume".
    var note = "nothing was written"

    var category: ErrorCategory { .interrupted }
    var description: String { "interrupted; \(note)" }
}

private let isInterrupted = Atomic<Bool>(false)
private let isChecked = Atomic<Bool>(false)
private let ignoresRepetition = Atomic<Bool>(false)

/// SIGINT, SIGTERM and SIGHUP. In commands with long loops the first one becomes a flag that these check between steps,
/// so that they can save their state. In all others, as the second one in any command, it ends the process at once.
enum InterruptFlag {
    /// Makes signals that end the process remove its unfinished files and locks first. Called at the start of the
    /// program.
    static func handleSignals() {
        // Creates the lazily initialized globals, which the signal handler must not do.
        isInterrupted.store(false, ordering: .relaxed)
        isChecked.store(false, ordering: .relaxed)
        ignoresRepetition.store(false, ordering: .relaxed)
        UnfinishedFiles.prepare()
        var action = sigaction()
        #if canImport(Darwin)
            action.__sigaction_u.__sa_handler = { InterruptFlag.received($0) }
        #else
            action.__sigaction_handler.sa_handler = { InterruptFlag.received($0) }
        #endif
        sigaction(SIGINT, &action, nil)
        sigaction(SIGTERM, &action, nil)
        // `nohup` ignores the end of the terminal, which must stay so.
        var previous = sigaction()
        sigaction(SIGHUP, &action, &previous)
        if isIgnored(previous) { sigaction(SIGHUP, &previous, nil) }
        // A parent may have blocked signals in the thread that started this process.
        var handled = sigset_t()
        sigemptyset(&handled)
        for signal in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&handled, signal) }
        pthread_sigmask(SIG_UNBLOCK, &handled, nil)
    }

    /// Turns the first signal into the flag; the command checks it from now on.
    static func install() { isChecked.store(true, ordering: .relaxed) }

    /// Ignores further SIGTERMs after the first one: a batch system and `mpirun` each send one to all processes.
    static func ignoreRepeatedTermination() { ignoresRepetition.store(true, ordering: .relaxed) }

    /// Runs in the signal handler, where only functions without locks and without allocation are allowed.
    private static func received(_ signal: Int32) {
        if UnfinishedFiles.holds(signal) { return }
        if isChecked.load(ordering: .relaxed), !isInterrupted.exchange(true, ordering: .relaxed) { return }
        let isRepeated = isChecked.load(ordering: .relaxed)
        if signal == SIGTERM, isRepeated, ignoresRepetition.load(ordering: .relaxed) { return }
        UnfinishedFiles.removeAll()
        let text: StaticString = "bitsfusion: interrupted; unfinished files were removed\n"
        if !Output.isSilent { _ = write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount) }
        _exit(ExitStatus.interrupted.rawValue)
    }

    private static func isIgnored(_ action: sigaction) -> Bool {
        #if canImport(Darwin)
            let handler = action.__sigaction_u.__sa_handler
        #else
            let handler = action.__sigaction_handler.sa_handler
        #endif
        return unsafeBitCast(handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
    }

    /// Whether a signal has arrived. Loops then finish their step, save, and throw `Interrupted`.
    static var isSet: Bool { isInterrupted.load(ordering: .relaxed) }

    /// Stops a loop without state to save.
    ///
    /// - Throws: `Interrupted`.
    static func check() throws {
        if isSet { throw Interrupted() }
    }
}
