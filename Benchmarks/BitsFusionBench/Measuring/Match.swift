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
    var budget = 10.0
    var samples = 5...21
    /// Seconds of silence before a measurement: the other side's threads spin for some milliseconds before they sleep.
    var pause = 0.05
    /// Least seconds of a measurement.
    var least = 0.02

    /// For a first impression.
    static let quick = MatchSettings(budget: 2, samples: 3...7)
}

/// One case's measurements.
struct Match {
    let settings: MatchSettings

    /// What other programs did to the measurements.
    struct Disturbance: Codable {
        /// Processor time that others took, as a share of what there was.
        var foreignLoad: Double?
        /// Processor time that sides used while it was another's turn, as a share of one processor.
        var idleLoad: Double?
    }

    /// Warms every side up and measures them in turn.
    ///
    /// - Returns: one record per side, in order.
    /// - Throws: what a side throws.
    func play(_ sides: [any Contestant], _ disturbance: inout Disturbance) throws -> [SideRecord] {
        for side in sides { try side.resetPeak() }
        // The second pass shows how long one takes; the first also allocates and plans.
        let estimates = try sides.map { side in
            _ = try side.measure(MeasuringPlan(settle: 0, least: 0))
            pauseBriefly()
            return try side.measure(MeasuringPlan(settle: 0, least: 0))
        }
        let plans = estimates.map { estimate in
            // A pass that takes this long outlasts the waking of threads and the filling of caches.
            MeasuringPlan(settle: estimate > 0.2 ? 0 : 0.01, least: settings.least)
        }
        let round = estimates.map { max($0, settings.least) + settings.pause }.reduce(0, +)
        let rounds = min(
            max(Int(settings.budget / round), settings.samples.lowerBound), settings.samples.upperBound)
        var samples = [[Double]](repeating: [], count: sides.count)
        var load = LoadMeter(sides.map(\.usage))
        for _ in 0..<rounds {
            for (index, side) in sides.enumerated() {
                pauseBriefly()
                let seconds = try load.during(index) { try side.measure(plans[index]) }
                samples[index].append(seconds)
            }
        }
        disturbance = load.disturbance
        return try zip(sides, samples).map { side, samples in
            guard let statistics = SampleStatistics(samples) else {
                preconditionFailure("match: a side without a measurement")
            }
            return SideRecord(samples: samples, statistics: statistics, peakBytes: try side.peakBytes())
        }
    }

    private func pauseBriefly() { Thread.sleep(forTimeInterval: settings.pause) }
}

/// Adds up who used the processors while a side was measured.
private struct LoadMeter {
    private let sides: [ProcessUsage]
    private var wall = 0.0
    private var busy: Double? = 0
    private var used = 0.0
    private var idle: Double? = 0

    init(_ sides: [ProcessUsage]) {
        self.sides = sides
    }

    private struct Reading {
        let clock = secondsNow()
        let machine = MachineUsage.busySeconds
        let sides: [Double?]
        init(_ sides: [ProcessUsage]) { self.sides = sides.map(\.processorSeconds) }
    }

    mutating func during<R>(_ turn: Int, _ body: () throws -> R) rethrows -> R {
        let before = Reading(sides)
        let result = try body()
        let after = Reading(sides)
        wall += after.clock - before.clock
        busy = after.machine.flatMap { end in
            before.machine.flatMap { start in busy.map { $0 + end - start } }
        }
        for index in sides.indices {
            guard let end = after.sides[index], let start = before.sides[index] else {
                idle = nil
                continue
            }
            // A thread that ended takes its time with it.
            let seconds = max(end - start, 0)
            used += seconds
            if index != turn { idle = idle.map { $0 + seconds } }
        }
        return result
    }

    var disturbance: Match.Disturbance {
        guard wall > 0 else { return Match.Disturbance() }
        let processors = Double(ProcessInfo.processInfo.activeProcessorCount)
        let foreign = idle == nil ? nil : busy.map { max($0 - used, 0) / (wall * processors) }
        return Match.Disturbance(foreignLoad: foreign, idleLoad: idle.map { $0 / wall })
    }
}
