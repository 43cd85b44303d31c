// SPDX-License-Identifier: Apache-2.0
// Measures sides in turn, A B C A B C ..., so that whatever slows the machine for a while slows all of them.

import BitsFusion
import Foundation

/// What a match found out about one side.
struct SideRecord: Codable {
    /// Seconds of a pass in each measurement, in the order in which they were taken.
    let samples: [Double]
    let statistics: SampleStatistics
    /// The largest resident size while the side was warmed up and measured, in bytes.
    let peakBytes: Int?
}

/// How many measurements are taken, and how.
struct MatchSettings {
    /// Seconds that a case's measurements should take together.
    var budget = 12.0
    var samples = 5...21
    /// Seconds of silence before a measurement: the other side's threads spin for some milliseconds before they sleep.
    var pause = 0.05
    /// Seconds of untimed passes before a measurement.
    var settle = 0.06
    /// Least seconds of a measurement.
    var least = 0.05
    /// A round is repeated where other programs took more than this share of the processors while a side was measured:
    /// that hurts a side that cuts its work into equal parts more than one that does not.
    var foreignLoad = 0.05
    /// How often a round is repeated at most, as a multiple of the rounds that are wanted.
    var repetitions = 2
    /// Seconds that a case's rounds wait altogether for other programs to leave the processors alone.
    var patience = 20.0

    /// For a first impression.
    static let quick = MatchSettings(budget: 2, samples: 3...7, repetitions: 1, patience: 2)
}

/// One case's measurements.
struct Match {
    let settings: MatchSettings

    /// Warms every side up and measures them in turn.
    ///
    /// - Returns: one record per side, in order, and what came in the way.
    /// - Throws: what a side throws.
    func play(_ sides: [any BenchmarkSide]) throws -> ([SideRecord], BackgroundLoad) {
        for side in sides { try side.resetPeak() }
        // The second pass shows how long one takes; the first also allocates and plans.
        let estimates = try sides.map { side in
            _ = try side.measure(MeasuringPlan(settle: 0, least: 0))
            pauseBriefly()
            return try side.measure(MeasuringPlan(settle: 0, least: 0))
        }
        // Untimed passes wake threads up and fill caches, for all sides or for none. Passes that take a second outlast both.
        let settle = (estimates.max() ?? 0) > 1 ? 0 : settings.settle
        let plan = MeasuringPlan(settle: settle, least: settings.least)
        let round = estimates.map { max($0, settings.least) + max($0, settle) + settings.pause }.reduce(0, +)
        let wanted = min(
            max(Int(settings.budget / round), settings.samples.lowerBound), settings.samples.upperBound)
        let (rounds, disturbance) = try playRounds(sides, plan, wanted: wanted)
        let records = try sides.enumerated().map { index, side in
            let samples = rounds.map { $0.seconds[index] }
            guard let statistics = SampleStatistics(samples) else {
                preconditionFailure("match: a side without a measurement")
            }
            return SideRecord(samples: samples, statistics: statistics, peakBytes: try side.peakBytes())
        }
        return (records, disturbance)
    }

    /// One measurement of every side.
    private struct Round {
        var seconds: [Double] = []
        var load = ProcessorLoad()
        /// The most that other programs took from a side.
        var foreignLoad = 0.0
    }

    /// Plays until there are `wanted` undisturbed rounds, or patience ends; then the least disturbed ones count.
    private func playRounds(
        _ sides: [any BenchmarkSide], _ plan: MeasuringPlan, wanted: Int
    ) throws -> ([Round], BackgroundLoad) {
        let meter = LoadMeter(sides.map(\.usage))
        var rounds: [Round] = []
        var patience = settings.patience
        while rounds.count(where: { $0.foreignLoad <= settings.foreignLoad }) < wanted,
            rounds.count < wanted * (1 + settings.repetitions)
        {
            waitForQuiet(meter, &patience)
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
        let calmest = rounds.enumerated().sorted {
            ($0.element.foreignLoad, $0.offset) < ($1.element.foreignLoad, $1.offset)
        }
        let kept = calmest.prefix(wanted).sorted { $0.offset < $1.offset }.map(\.element)
        let load = kept.reduce(into: ProcessorLoad()) { $0 += $1.load }
        let disturbance = BackgroundLoad(
            foreignLoad: load.foreign, idleLoad: load.idle,
            isDisturbed: kept.contains { $0.foreignLoad > settings.foreignLoad },
            droppedRounds: rounds.count - wanted)
        return (kept, disturbance)
    }

    /// Waits until other programs take no more than what a round may lose to them, or `patience`, in seconds, ends.
    private func waitForQuiet(_ meter: LoadMeter, _ patience: inout Double) {
        while patience > 0 {
            let (_, load) = meter.during(nil) { Thread.sleep(forTimeInterval: 0.1) }
            patience -= load.wall
            if (load.foreign ?? 0) <= settings.foreignLoad { return }
        }
    }

    private func pauseBriefly() { Thread.sleep(forTimeInterval: settings.pause) }
}
