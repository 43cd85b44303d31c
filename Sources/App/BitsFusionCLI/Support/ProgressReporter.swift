// SPDX-License-Identifier: Apache-2.0
// Progress on standard error: one line that is redrawn on a terminal, a few plain lines in a log.

import Foundation

/// Reports how far a command has come.
final class ProgressReporter {
    private let label: String
    private let total: Int
    private let unit: String
    private let isQuiet: Bool
    private let isTerminal: Bool
    private let start = ContinuousClock.now
    /// Steps that were done before this run (a resumed one), which say nothing about its speed.
    private let first: Int
    private var lastDrawn: (time: ContinuousClock.Instant, done: Int)?
    private var hasLine = false

    /// - Parameters:
    ///   - label: what is being done, such as "packing".
    ///   - total: the number of steps.
    ///   - unit: what a step is, in plural.
    ///   - isQuiet: prints nothing.
    ///   - first: steps already done.
    init(_ label: String, total: Int, unit: String, isQuiet: Bool, first: Int = 0) {
        self.label = label
        self.total = total
        self.unit = unit
        self.isQuiet = isQuiet
        self.first = first
        isTerminal = isatty(STDERR_FILENO) == 1
    }

    deinit { endLine() }

    /// Reports that `done` steps of the total are done; `note` (a loss, a layer) is shown behind.
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

    /// Reports a share of the work, 0...1, of a reporter with a total.
    func update(share: Double, note: String = "") {
        update(Int((share * Double(total)).rounded()), note: note)
    }

    /// Ends the line on a terminal, so that other output begins on a fresh one.
    func endLine() {
        guard hasLine else { return }
        Output.toStandardError("\n")
        hasLine = false
    }

    private func isDue(_ done: Int) -> Bool {
        guard let lastDrawn else {
            // What takes less than this needs no line in a log.
            return isTerminal || start.duration(to: .now) > .seconds(10)
        }
        let waited = lastDrawn.time.duration(to: .now)
        if isTerminal {
            return done >= total ? hasLine || done > lastDrawn.done : waited > .milliseconds(100)
        }
        if done >= total { return done > lastDrawn.done }
        let isFar = (done - lastDrawn.done) * 10 >= total
        return waited > .seconds(60) || (waited > .seconds(10) && isFar)
    }

    private func line(_ done: Int, _ note: String) -> String {
        let elapsed = start.duration(to: .now)
        let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
        var parts = ["\(label): \(done)/\(total) \(unit)"]
        if total > 0 { parts.append("\(100 * done / total) %") }
        if done > first, seconds > 0 {
            let rate = Double(done - first) / seconds
            parts.append(Self.rate(rate))
            let left = Double(total - done) / rate
            parts.append(done < total ? "\(Self.time(left)) left" : "took \(Self.time(seconds))")
        }
        if !note.isEmpty { parts.append(note) }
        return parts.joined(separator: ", ")
    }

    private static func rate(_ perSecond: Double) -> String {
        if perSecond >= 1000 { return "\(Numbers.grouped(Int(min(perSecond, 1e15))))/s" }
        return perSecond >= 1
            ? "\(Numbers.fixed(perSecond, 1))/s" : "\(Numbers.fixed(1 / perSecond, 1)) s each"
    }

    /// `seconds` as `42 s`, `3:05 min` or `1:20 h`.
    static func time(_ seconds: Double) -> String {
        let whole = Int(min(seconds, 1e9).rounded())
        if whole < 60 { return "\(whole) s" }
        if whole < 3600 { return String(format: "%d:%02d min", whole / 60, whole % 60) }
        return String(format: "%d:%02d h", whole / 3600, whole / 60 % 60)
    }
}
