// SPDX-License-Identifier: Apache-2.0
// Measures sides alternately, A B C A B C ..., so that temporary slowdowns of the machine affect all of them.

import BitsFusion
import Foundation

/// The measurements of one side.
struct SideRecord: Codable {
    /// Seconds per pass of each measurement, in chronological order.
    let samples: [Double]
    let statistics: SampleStatistics
    /// The largest resident size while the side was warmed up and measured, in bytes.
    let peakBytes: Int?
}

/// The number and duration of measurements.
struct RunnerSettings {
    /// Target duration of all measurements of a case in seconds.
    var budget = 12.0
    var samples = 5...21
    /// Seconds of idle time before a measurement, because threads of the other side poll for some milliseconds.
    var pause = 0.05
    /// Seconds of untimed passes before a measurement.
    var settle = 0.06
    /// Minimum duration of a measurement in seconds.
    var minSeconds = 0.05
    /// A round is repeated if other programs used more than this share of the processors while a side was measured.
    /// Background load slows down a side with static scheduling more than a side with dynamic scheduling.
    var foreignLoad = 0.05
    /// Maximum number of repeated rounds, as a multiple of the number of rounds.
    var repetitions = 2
    /// Maximum seconds per case to wait until other programs are idle.
    var maxWait = 20.0
    /// The number of measurements of cases whose passes take minutes. They have no passes before the measurements.
    var longPasses = 2

    /// Fewer and shorter measurements.
    static let quick = RunnerSettings(budget: 2, samples: 3...7, repetitions: 1, maxWait: 2, longPasses: 1)

    /// The settings, with fewer measurements if the passes of `benchmark` take minutes.
    func adapted(to benchmark: BenchmarkCase) -> RunnerSettings {
        guard benchmark.hasLongPasses else { return self }
        var settings = self
        settings.samples = longPasses...longPasses
        settings.repetitions = 0
        settings.isWarmedUp = true
        return settings
    }

    /// Whether a pass before has allocated memory and initialized.
    private(set) var isWarmedUp = false
}

/// Measures the sides of one case.
struct BenchmarkRunner {
    let settings: RunnerSettings

    /// Warms up every side, then measures all sides alternately.
    ///
    /// - Returns: one record per side, in order, and the background load.
    /// - Throws: the error of a side.
    func run(_ sides: [any BenchmarkSide]) throws -> ([SideRecord], BackgroundLoad) {
        for side in sides { try side.resetPeak() }
        guard !settings.isWarmedUp else {
            return try records(sides, MeasuringPlan(settle: 0, minSeconds: 0), wanted: settings.samples.upperBound)
        }
        // The second pass is timed, because the first one also allocates memory and initializes.
        let estimates = try sides.map { side in
            _ = try side.measure(MeasuringPlan(settle: 0, minSeconds: 0))
            pauseBriefly()
            return try side.measure(MeasuringPlan(settle: 0, minSeconds: 0))
        }
        // Untimed passes are used for all sides or for none; passes longer than a second do not need them.
        let settle = (estimates.max() ?? 0) > 1 ? 0 : settings.settle
        let plan = MeasuringPlan(settle: settle, minSeconds: settings.minSeconds)
        let round = estimates.map { max($0, settings.minSeconds) + max($0, settle) + settings.pause }.reduce(0, +)
        let wanted = min(
            max(Int(settings.budget / round), settings.samples.lowerBound), settings.samples.upperBound)
        return try records(sides, plan, wanted: wanted)
    }

    private func records(
        _ sides: [any BenchmarkSide], _ plan: MeasuringPlan, wanted: Int
    ) throws -> ([SideRecord], BackgroundLoad) {
        let (rounds, backgroundLoad) = try runRounds(sides, plan, wanted: wanted)
        let records = try sides.enumerated().map { index, side in
            let samples = rounds.map { $0.seconds[index] }
            guard let statistics = SampleStatistics(samples) else {
                preconditionFailure("BenchmarkRunner: a side without a measurement")
            }
            return SideRecord(samples: samples, statistics: statistics, peakBytes: try side.peakBytes())
        }
        return (records, backgroundLoad)
    }

    /// One measurement of every side.
    private struct Round {
        var seconds: [Double] = []
        var load = ProcessorLoad()
        /// The maximum load by other programs while a side was measured.
        var foreignLoad = 0.0
    }

    /// Runs rounds until `wanted` of them have little background load, or the maximum number of rounds is reached. The
    /// `wanted` rounds with the lowest background load count.
    private func runRounds(
        _ sides: [any BenchmarkSide], _ plan: MeasuringPlan, wanted: Int
    ) throws -> ([Round], BackgroundLoad) {
        let meter = LoadMeter(sides.map(\.usage))
        var rounds: [Round] = []
        var remainingWait = settings.maxWait
        while rounds.count(where: { $0.foreignLoad <= settings.foreignLoad }) < wanted,
            rounds.count < wanted * (1 + settings.repetitions)
        {
            waitForIdle(meter, &remainingWait)
            var round = Round()
            for (index, side) in sides.enumerated() {
                pauseBriefly()
                let (seconds, load) = try meter.during(index) { try side.measure(plan) }
                round.seconds.append(seconds)
                round.load += load
                round.foreignLoad = max(round.foreignLoad, load.foreign ?? 0)
            }
            rounds.append(round)
        }
        let sortedByLoad = rounds.enumerated().sorted {
            ($0.element.foreignLoad, $0.offset) < ($1.element.foreignLoad, $1.offset)
        }
        let kept = sortedByLoad.prefix(wanted).sorted { $0.offset < $1.offset }.map(\.element)
        let load = kept.reduce(into: ProcessorLoad()) { $0 += $1.load }
        let backgroundLoad = BackgroundLoad(
            foreignLoad: load.foreign, idleLoad: load.idle,
            isLoaded: kept.contains { $0.foreignLoad > settings.foreignLoad },
            droppedRounds: rounds.count - wanted)
        return (kept, backgroundLoad)
    }

    /// Waits until the load by other programs is acceptable, or `remainingWait` seconds are over.
    private func waitForIdle(_ meter: LoadMeter, _ remainingWait: inout Double) {
        while remainingWait > 0 {
            let (_, load) = meter.during(nil) { Thread.sleep(forTimeInterval: 0.1) }
            remainingWait -= load.wall
            if (load.foreign ?? 0) <= settings.foreignLoad { return }
        }
    }

    private func pauseBriefly() { Thread.sleep(forTimeInterval: settings.pause) }
}
