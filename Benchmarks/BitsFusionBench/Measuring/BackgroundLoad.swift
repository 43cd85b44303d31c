// SPDX-License-Identifier: Apache-2.0
// What came in the way of measurements: other programs, and sides that did not idle while it was not their turn.

import Foundation

/// What came in the way of one case, over the rounds that count.
struct BackgroundLoad: Codable {
    /// Processor time that other programs took, as a share of what there was.
    var foreignLoad: Double?
    /// Processor time that sides used while it was another's turn, as a share of one processor.
    var idleLoad: Double?
    /// Whether other programs were in the way of a round, in spite of all repetitions.
    var isDisturbed: Bool
    /// Rounds that were repeated.
    var droppedRounds: Int

    /// The worse of two, number by number.
    func worse(_ other: BackgroundLoad) -> BackgroundLoad {
        func larger(_ a: Double?, _ b: Double?) -> Double? { [a, b].compactMap { $0 }.max() }
        return BackgroundLoad(
            foreignLoad: larger(foreignLoad, other.foreignLoad), idleLoad: larger(idleLoad, other.idleLoad),
            isDisturbed: isDisturbed || other.isDisturbed,
            droppedRounds: max(droppedRounds, other.droppedRounds))
    }
}

/// Seconds in which sides were measured, and who used the processors then.
struct ProcessorLoad {
    private(set) var wall = 0.0
    /// By all processes of the machine, by the sides, by sides whose turn it was not; nil once it is unknown.
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

    /// Other programs' share of all processors.
    var foreign: Double? {
        guard wall > 0, let busy, let used else { return nil }
        return max(busy - used, 0) / (wall * Double(ProcessInfo.processInfo.activeProcessorCount))
    }

    /// The idle sides' share of one processor.
    var idle: Double? { wall > 0 ? idling.map { $0 / wall } : nil }
}

/// Watches who uses the processors while a side is measured.
struct LoadMeter {
    private let sides: [ProcessUsage]
    /// Which of `sides` each side runs in; several may share a process.
    private let places: [Int]

    init(_ sides: [ProcessUsage]) {
        var processes: [ProcessUsage] = []
        places = sides.map { side in
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

    /// Runs `body`, in which side `turn` is measured, or none.
    func during<R>(_ turn: Int?, _ body: () throws -> R) rethrows -> (R, ProcessorLoad) {
        let before = Reading(sides)
        let result = try body()
        let after = Reading(sides)
        let running = sides.indices.map { index -> Double? in
            guard let start = before.sides[index], let end = after.sides[index] else { return nil }
            // A thread that ends takes its time with it, which is no growth.
            return max(end - start, 0)
        }
        let active = turn.map { places[$0] }
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
