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
    /// What did not run, and why.
    private(set) var skipped: [SkippedCase] = []
    /// Whether twins run that a case leaves out otherwise.
    let runsOptionalTwins: Bool

    init(
        settings: MatchSettings, ceiling: MachineCeiling, twins: [TwinProcess], exchange: TensorExchange,
        runsOptionalTwins: Bool
    ) {
        self.settings = settings
        self.ceiling = ceiling
        self.twins = twins
        self.exchange = exchange
        self.runsOptionalTwins = runsOptionalTwins
    }

    /// Why something that needs so many bytes cannot run now, or nil.
    private func obstacle(_ bytes: Int?) -> String? {
        guard let bytes, let available = MachineUsage.availableBytes, available < bytes else { return nil }
        return
            "needs \(Format.megabytes(bytes)) MB of memory, \(Format.megabytes(available)) MB are available"
    }

    /// Runs one case, or notes in `skipped` why not.
    ///
    /// - Throws: `BenchmarkError`, and what the case throws.
    func row(_ benchmark: BenchmarkCase) throws -> BenchmarkRow? {
        let sides = twins.filter { twin in
            benchmark.twins.contains(twin.type)
                && (runsOptionalTwins || !benchmark.optionalTwins.contains(twin.type))
        }
        if let reason = obstacle(benchmark.needs?.ours) {
            skipped.append(SkippedCase(name: benchmark.name, reason: reason))
            return nil
        }
        ceiling.raise()
        defer { OwnContestant.releaseMemory() }
        let outcome =
            benchmark.needs == nil
            ? try alternating(benchmark, sides) : try oneAfterTheOther(benchmark, sides)
        let ours = outcome.ours
        let records = outcome.twins.map { twin in
            TwinRecord(
                type: twin.type, record: twin.record, difference: twin.difference,
                tolerance: benchmark.tolerances[twin.type],
                ratio: ours.statistics.median / twin.record.statistics.median,
                target: benchmark.targets[twin.type])
        }
        let work = benchmark.operations ?? benchmark.bytes
        let top = benchmark.operations == nil ? ceiling.bytesPerSecond : ceiling.operationsPerSecond
        return BenchmarkRow(
            name: benchmark.name, group: benchmark.group, ours: ours, twins: records,
            operations: benchmark.operations, bytes: benchmark.bytes,
            peakLimit: benchmark.peakLimit, shareOfCeiling: work.map { $0 / ours.statistics.median / top },
            disturbance: outcome.disturbance, isAlternating: benchmark.needs == nil,
            curve: benchmark.curve, choice: outcome.choice)
    }

    private struct Outcome {
        var ours: SideRecord
        var twins: [(type: TwinType, record: SideRecord, difference: ResultDifference)] = []
        var disturbance: BackgroundLoad
        var choice: ChoiceRecord?
    }

    /// All sides hold the case at the same time and are measured in turn.
    private func alternating(_ benchmark: BenchmarkCase, _ sides: [TwinProcess]) throws -> Outcome {
        let workload = try benchmark.make()
        let inputs = try sides.isEmpty ? [] : workload.handOver(exchange)
        defer { exchange.removeInputs() }
        workload.dropInputs()
        let results = try workload.results()
        defer { for twin in sides { _ = try? twin.ask(TwinRequest(command: .release)) } }
        let differences = try sides.map { try difference(benchmark, $0, inputs, results) }
        let (records, disturbance) = try Match(settings: settings).play(
            [OwnContestant(workload)] + sides.map(TwinContestant.init))
        let twins = sides.indices.map { (sides[$0].type, records[$0 + 1], differences[$0]) }
        return Outcome(
            ours: records[0], twins: twins, disturbance: disturbance,
            choice: try choice(benchmark, workload, results))
    }

    /// Measures the library's choice and the ways that it could have chosen in turn, after the match with PyTorch: what
    /// they keep in memory is none of the choice's.
    private func choice(
        _ benchmark: BenchmarkCase, _ workload: Workload, _ results: [String: Tensor]
    ) throws -> ChoiceRecord? {
        guard !benchmark.alternatives.isEmpty else { return nil }
        let ways = benchmark.alternatives.map { OwnContestant(workload, by: $0) }
        let differences = try ways.map {
            ResultDifference(try $0.results(), results, type: .float32)
        }
        let (records, _) = try Match(settings: settings).play([OwnContestant(workload)] + ways)
        return ChoiceRecord(
            chosen: records[0],
            ways: ways.indices.map { index in
                .init(
                    name: benchmark.alternatives[index].name, record: records[index + 1],
                    difference: differences[index])
            }, tolerance: benchmark.tolerances.float32)
    }

    /// Each side has the machine for itself, and lets go of its memory before the next begins.
    private func oneAfterTheOther(_ benchmark: BenchmarkCase, _ sides: [TwinProcess]) throws -> Outcome {
        var (inputs, results): ([String], [String: Tensor]) = ([], [:])
        defer { exchange.removeInputs() }
        var outcome: Outcome
        do {
            let workload = try benchmark.make()
            if !sides.isEmpty { inputs = try workload.handOver(exchange) }
            workload.dropInputs()
            results = try workload.results()
            let (records, disturbance) = try Match(settings: settings).play([OwnContestant(workload)])
            outcome = Outcome(ours: records[0], disturbance: disturbance)
        }
        OwnContestant.releaseMemory()
        for twin in sides {
            if let reason = obstacle(benchmark.needs?.twin) {
                skipped.append(
                    SkippedCase(name: "\(benchmark.name), PyTorch in \(twin.type.rawValue)", reason: reason))
                continue
            }
            defer { _ = try? twin.ask(TwinRequest(command: .release)) }
            let difference = try difference(benchmark, twin, inputs, results)
            let (records, disturbance) = try Match(settings: settings).play([TwinContestant(twin)])
            outcome.twins.append((twin.type, records[0], difference))
            outcome.disturbance = outcome.disturbance.worse(disturbance)
        }
        return outcome
    }

    /// Has `twin` build the case and compute once, and compares.
    private func difference(
        _ benchmark: BenchmarkCase, _ twin: TwinProcess, _ inputs: [String], _ results: [String: Tensor]
    ) throws -> ResultDifference {
        try twin.ask(
            TwinRequest(
                command: .prepare, operation: benchmark.operation, options: benchmark.options,
                text: benchmark.text, inputs: inputs))
        let outputs = exchange.path("outputs-\(twin.type.rawValue)")
        try twin.ask(
            TwinRequest(command: .results, operation: benchmark.operation, outputs: outputs))
        defer { exchange.remove(outputs) }
        return try ResultDifference(results, file: outputs, type: twin.type)
    }
}
