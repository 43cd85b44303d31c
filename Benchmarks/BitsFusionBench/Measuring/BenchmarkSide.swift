// SPDX-License-Identifier: Apache-2.0
// The two kinds of side of a benchmark, behind what the match needs of them.

import BitsFusion
import CBenchmarkSupport
import Foundation

/// How one measurement is taken.
struct MeasuringPlan: Codable, Equatable {
    /// Seconds of untimed passes first: they wake the threads up and fill the caches.
    var settle: Double
    /// Passes are repeated until they have taken this many seconds.
    var least: Double
}

/// A side: ours, or PyTorch in one element type.
protocol BenchmarkSide: AnyObject {
    /// The mean seconds of a pass.
    func measure(_ plan: MeasuringPlan) throws -> Double
    func resetPeak() throws
    /// The largest resident size since the reset, in bytes.
    func peakBytes() throws -> Int?
    var usage: ProcessUsage { get }
}

/// Our side, in this process.
final class OwnContestant: BenchmarkSide {
    private let workload: Workload
    private let alternative: Alternative?

    /// - Parameters:
    ///   - workload: what is measured.
    ///   - alternative: the way to compute it; nil: the library's choice.
    init(_ workload: Workload, by alternative: Alternative? = nil) {
        self.workload = workload
        self.alternative = alternative
    }

    let usage = ProcessUsage.own

    func measure(_ plan: MeasuringPlan) throws -> Double {
        var mean = 0.0
        try forced {
            _ = try repeatPasses(for: plan.settle)
            let (seconds, passes) = try repeatPasses(for: max(plan.least, .leastNonzeroMagnitude))
            mean = seconds / Double(passes)
        }
        return mean
    }

    /// What a pass makes.
    func results() throws -> [String: Tensor] {
        var results: [String: Tensor] = [:]
        try forced { results = try workload.results() }
        return results
    }

    private func forced(_ body: () throws -> Void) throws {
        guard let alternative else { return try body() }
        try alternative.forcing(body)
    }

    /// What building the case left in the pool is none of its needs.
    func resetPeak() {
        Self.releaseMemory()
        usage.resetPeak()
    }

    func peakBytes() -> Int? { usage.peakBytes }

    private func repeatPasses(for least: Double) throws -> (seconds: Double, passes: Int) {
        var (seconds, passes) = (0.0, 0)
        while seconds < least {
            workload.prepare()
            let start = secondsNow()
            try workload.pass()
            seconds += secondsNow() - start
            passes += 1
        }
        return (seconds, passes)
    }

    /// Returns what the pools keep, so that the next case's peak is its own.
    static func releaseMemory() {
        BlockPool.shared.trim()
        bm_return_freed_memory()
    }
}

/// PyTorch's side.
final class TwinContestant: BenchmarkSide {
    private let twin: TwinProcess

    init(_ twin: TwinProcess) { self.twin = twin }

    var usage: ProcessUsage { twin.usage }

    func measure(_ plan: MeasuringPlan) throws -> Double {
        guard let seconds = try twin.ask(TwinRequest(command: .measure, plan: plan)).seconds else {
            throw BenchmarkError.twinAnswer(line: "measure without seconds")
        }
        return seconds
    }

    func resetPeak() throws { try twin.ask(TwinRequest(command: .resetPeak)) }
    func peakBytes() throws -> Int? { try twin.ask(TwinRequest(command: .peak)).peakBytes }
}
