// SPDX-License-Identifier: Apache-2.0
// Processor load during measurements by other programs, and by sides that are not being measured.

import Foundation

/// Background load of one case, over the rounds that count.
struct BackgroundLoad: Codable {
    /// Processor time of other programs, relative to all processors.
    var foreignLoad: Double?
    /// Processor time of sides that were not being measured, relative to one processor.
    var idleLoad: Double?
    /// Whether the load of other programs was too high in a round, in spite of all repetitions.
    var isLoaded: Bool
    /// Number of repeated rounds.
    var droppedRounds: Int

    /// The elementwise maximum.
    func maximum(_ other: BackgroundLoad) -> BackgroundLoad {
        func larger(_ a: Double?, _ b: Double?) -> Double? { [a, b].compactMap { $0 }.max() }
        return BackgroundLoad(
            foreignLoad: larger(foreignLoad, other.foreignLoad), idleLoad: larger(idleLoad, other.idleLoad),
            isLoaded: isLoaded || other.isLoaded,
            droppedRounds: max(droppedRounds, other.droppedRounds))
    }
}

/// Duration of measurements, and processor time during them.
struct ProcessorLoad {
    private(set) var wall = 0.0
    /// Of all processes of the machine, of the sides, and of sides that were not being measured; nil if unknown.
    private(set) var busy: Double? = 0
    private(set) var used: Double? = 0
    private(set) var idling: Double? = 0

    init() {}

    init(wall: Double, busy: Double?, used: Double?, idling: Double?) {
        (self.wall, self.busy, self.used, self.idling) = (wall, busy, used, idling)
    }

    static func += (sum: inout ProcessorLoad, other: ProcessorLoad) {
        func added(_ a: Double?, _ b: Double?) -> Double? { a.flatMap { a in b.map { a + $0 } } }
        sum = ProcessorLoad(
            wall: sum.wall + other.wall, busy: added(sum.busy, other.busy), used: added(sum.used, other.used),
            idling: added(sum.idling, other.idling))
    }

    /// The share of other programs, relative to all processors.
    var foreign: Double? {
        guard wall > 0, let busy, let used else { return nil }
        return max(busy - used, 0) / (wall * Double(ProcessInfo.processInfo.activeProcessorCount))
    }

    /// The share of idle sides, relative to one processor.
    var idle: Double? { wall > 0 ? idling.map { $0 / wall } : nil }
}

/// Measures processor time while a side is measured.
struct LoadMeter {
    private let sides: [ProcessUsage]
    /// The index in `sides` of the process of each side; several sides may share a process.
    private let processIndices: [Int]

    init(_ sides: [ProcessUsage]) {
        var processes: [ProcessUsage] = []
        processIndices = sides.map { side in
            if let known = processes.firstIndex(where: { $0.identifier == side.identifier }) { return known }
            processes.append(side)
            return processes.count - 1
        }
        self.sides = processes
    }

    private struct Reading {
        let clock = secondsNow()
        let machine = MachineUsage.busy
        let sides: [Double?]

        init(_ sides: [ProcessUsage]) { self.sides = sides.map(\.processorSeconds) }
    }

    /// Calls `body`, in which side `turn` (or none) is measured.
    func during<R>(_ turn: Int?, _ body: () throws -> R) rethrows -> (R, ProcessorLoad) {
        let before = Reading(sides)
        let result = try body()
        let after = Reading(sides)
        let running = sides.indices.map { index -> Double? in
            guard let start = before.sides[index], let end = after.sides[index] else { return nil }
            // The time of ended threads is lost, which must not give a negative growth.
            return max(end - start, 0)
        }
        let active = turn.map { processIndices[$0] }
        let others = running.enumerated().filter { $0.offset != active }.map(\.element)
        let load = ProcessorLoad(
            wall: after.clock - before.clock, busy: after.machine.growth(since: before.machine),
            used: sum(running), idling: sum(others))
        return (result, load)
    }

    private func sum(_ values: [Double?]) -> Double? {
        values.reduce(0) { sum, value in sum.flatMap { sum in value.map { sum + $0 } } }
    }
}
