// SPDX-License-Identifier: Apache-2.0
// Runs cases: same inputs for every side, results compared, then measured in turn.

import BitsFusion
import Foundation

/// The sides and their settings.
final class BenchmarkRun {
    let settings: MatchSettings
    /// The highest so far; looked at again before every case.
    private(set) var ceiling: MachineCeiling
    /// PyTorch, one process per element type; empty when only our side runs.
    let twins: [TwinProcess]
    let exchange: TensorExchange

    init(settings: MatchSettings, ceiling: MachineCeiling, twins: [TwinProcess], exchange: TensorExchange) {
        self.settings = settings
        self.ceiling = ceiling
        self.twins = twins
        self.exchange = exchange
    }

    /// Why a case cannot run now, or nil.
    func obstacle(_ benchmark: BenchmarkCase) -> String? {
        guard let needed = benchmark.exclusiveBytes, let available = MachineUsage.availableBytes,
            available < needed
        else { return nil }
        return
            "needs \(Format.megabytes(needed)) MB of memory, \(Format.megabytes(available)) MB are available"
    }

    /// Runs one case.
    ///
    /// - Throws: `BenchError`, and what the case throws.
    func row(_ benchmark: BenchmarkCase) throws -> BenchmarkRow {
        let sides = twins.filter { benchmark.twins.contains($0.type) }
        ceiling.raise()
        defer { OwnContestant.releaseMemory() }
        let outcome =
            benchmark.exclusiveBytes == nil
            ? try alternating(benchmark, sides) : try oneAfterTheOther(benchmark, sides)
        let ours = outcome.ours
        let records = zip(sides, zip(outcome.theirs, outcome.differences)).map { twin, found in
            TwinRecord(
                type: twin.type, record: found.0, difference: found.1,
                tolerance: benchmark.tolerances[twin.type],
                ratio: ours.statistics.median / found.0.statistics.median,
                target: benchmark.targets[twin.type])
        }
        let work = benchmark.operations ?? benchmark.bytes
        let top = benchmark.operations == nil ? ceiling.bytesPerSecond : ceiling.operationsPerSecond
        return BenchmarkRow(
            name: benchmark.name, group: benchmark.group, ours: ours, twins: records,
            operations: benchmark.operations, bytes: benchmark.bytes,
            shareOfCeiling: work.map { $0 / ours.statistics.median / top },
            disturbance: outcome.disturbance, isAlternating: benchmark.exclusiveBytes == nil,
            curve: benchmark.curve)
    }

    private struct Outcome {
        var ours: SideRecord
        var theirs: [SideRecord] = []
        var differences: [ResultDifference] = []
        var disturbance: Disturbance
    }

    /// All sides hold the case at the same time and are measured in turn.
    private func alternating(_ benchmark: BenchmarkCase, _ sides: [TwinProcess]) throws -> Outcome {
        let workload = try benchmark.make()
        let inputs = try sides.isEmpty ? "" : exchange.write(workload.inputs, as: "inputs")
        workload.dropInputs()
        let results = try workload.results()
        let differences = try sides.map { try difference(benchmark, $0, inputs, results) }
        exchange.remove(inputs)
        defer { for twin in sides { _ = try? twin.ask(TwinRequest(command: .release)) } }
        let (records, disturbance) = try Match(settings: settings).play(
            [OwnContestant(workload)] + sides.map(TwinContestant.init))
        return Outcome(
            ours: records[0], theirs: Array(records.dropFirst()), differences: differences,
            disturbance: disturbance)
    }

    /// Each side has the machine for itself, and lets go of its memory before the next begins.
    private func oneAfterTheOther(_ benchmark: BenchmarkCase, _ sides: [TwinProcess]) throws -> Outcome {
        var (inputs, results): (String, [String: Tensor]) = ("", [:])
        var outcome: Outcome
        do {
            let workload = try benchmark.make()
            if !sides.isEmpty { inputs = try exchange.write(workload.inputs, as: "inputs") }
            workload.dropInputs()
            results = try workload.results()
            let (records, disturbance) = try Match(settings: settings).play([OwnContestant(workload)])
            outcome = Outcome(ours: records[0], disturbance: disturbance)
        }
        OwnContestant.releaseMemory()
        for twin in sides {
            defer { _ = try? twin.ask(TwinRequest(command: .release)) }
            outcome.differences.append(try difference(benchmark, twin, inputs, results))
            let (records, disturbance) = try Match(settings: settings).play([TwinContestant(twin)])
            outcome.theirs += records
            outcome.disturbance = outcome.disturbance.worse(disturbance)
        }
        exchange.remove(inputs)
        return outcome
    }

    /// Has `twin` build the case and compute once, and compares.
    private func difference(
        _ benchmark: BenchmarkCase, _ twin: TwinProcess, _ inputs: String, _ results: [String: Tensor]
    ) throws -> ResultDifference {
        try twin.ask(
            TwinRequest(
                command: .prepare, operation: benchmark.operation, options: benchmark.options,
                text: benchmark.text, inputs: inputs))
        let outputs = exchange.path("outputs-\(twin.type.rawValue)")
        try twin.ask(
            TwinRequest(command: .results, operation: benchmark.operation, outputs: outputs))
        defer { exchange.remove(outputs) }
        return try ResultDifference(results, file: outputs)
    }
}
