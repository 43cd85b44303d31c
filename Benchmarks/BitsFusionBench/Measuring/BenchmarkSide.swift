// SPDX-License-Identifier: Apache-2.0
// The two kinds of side of a benchmark: this library and PyTorch.

import BitsFusion
import CBenchmarkSupport
import Foundation

/// A side: ours, or PyTorch in one element type.
protocol BenchmarkSide: AnyObject {
    /// The mean duration of a pass in seconds.
    func measure(_ plan: MeasuringPlan) throws -> Double
    func resetPeak() throws
    /// The largest resident size since the reset, in bytes.
    func peakBytes() throws -> Int?
    var usage: ProcessUsage { get }
}

/// This library, in this process.
final class OwnSide: BenchmarkSide {
    private let workload: Workload
    private let alternative: Alternative?

    /// - Parameters:
    ///   - workload: the measured work.
    ///   - alternative: the algorithm; nil: the one that the library selects.
    init(_ workload: Workload, by alternative: Alternative? = nil) {
        self.workload = workload
        self.alternative = alternative
    }

    let usage = ProcessUsage.own

    func measure(_ plan: MeasuringPlan) throws -> Double {
        var mean = 0.0
        try forced {
            _ = try repeatPasses(for: plan.settle)
            let (seconds, passes) = try repeatPasses(for: max(plan.minSeconds, .leastNonzeroMagnitude))
            mean = seconds / Double(passes)
        }
        return mean
    }

    /// The results of a pass.
    func results() throws -> [String: Tensor] {
        var results: [String: Tensor] = [:]
        try forced { results = try workload.results() }
        return results
    }

    private func forced(_ body: () throws -> Void) throws {
        guard let alternative else { return try body() }
        try alternative.forcing(body)
    }

    /// Memory that building the case left in the pool does not count.
    func resetPeak() {
        Self.releaseMemory()
        usage.resetPeak()
    }

    func peakBytes() -> Int? { usage.peakBytes }

    private func repeatPasses(for minSeconds: Double) throws -> (seconds: Double, passes: Int) {
        var (seconds, passes) = (0.0, 0)
        while seconds < minSeconds {
            workload.prepare()
            let start = secondsNow()
            try workload.pass()
            seconds += secondsNow() - start
            passes += 1
        }
        return (seconds, passes)
    }

    /// Returns cached memory, so that it does not count in the peak of the next case.
    static func releaseMemory() {
        BlockPool.shared.trim()
        bm_return_freed_memory()
    }
}

/// PyTorch, in its process.
final class TwinSide: BenchmarkSide {
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
