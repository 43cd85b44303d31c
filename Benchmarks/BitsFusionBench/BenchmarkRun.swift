// SPDX-License-Identifier: Apache-2.0
// Runs cases: both sides get the same inputs, results are compared, then the sides are measured alternately.

import BitsFusion
import Foundation

/// A run of benchmark cases.
final class BenchmarkRun {
    let settings: RunnerSettings
    /// The highest measured so far; measured again before every case.
    private(set) var ceiling: MachineCeiling
    /// PyTorch, one process per element type; empty with `--ours-only`.
    let twins: [TwinProcess]
    let exchange: TensorExchange
    /// Cases that did not run, with reasons.
    private(set) var skipped: [SkippedCase] = []
    /// Whether the optional twins of a case run.
    let runsOptionalTwins: Bool

    init(
        settings: RunnerSettings, ceiling: MachineCeiling, twins: [TwinProcess], exchange: TensorExchange,
        runsOptionalTwins: Bool
    ) {
        self.settings = settings
        self.ceiling = ceiling
        self.twins = twins
        self.exchange = exchange
        self.runsOptionalTwins = runsOptionalTwins
    }

    /// The reason why a case that needs `bytes` bytes cannot run now, or nil.
    private func obstacle(_ bytes: Int?) -> String? {
        guard let bytes, let available = MachineUsage.availableBytes, available < bytes else { return nil }
        return
            "needs \(Format.megabytes(bytes)) MB of memory, \(Format.megabytes(available)) MB are available"
    }

    /// Runs one case, or adds it to `skipped`.
    ///
    /// - Throws: `BenchmarkError`, and the errors of the case.
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
        defer { OwnSide.releaseMemory() }
        let outcome =
            benchmark.needs == nil
            ? try alternating(benchmark, sides) : try sequential(benchmark, sides)
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
            backgroundLoad: outcome.backgroundLoad, isAlternating: benchmark.needs == nil,
            curve: benchmark.curve, choice: outcome.choice)
    }

    private struct Outcome {
        var ours: SideRecord
        var twins: [(type: TwinType, record: SideRecord, difference: ResultDifference)] = []
        var backgroundLoad: BackgroundLoad
        var choice: ChoiceRecord?
    }

    /// All sides are prepared at the same time and measured alternately.
    private func alternating(_ benchmark: BenchmarkCase, _ sides: [TwinProcess]) throws -> Outcome {
        let workload = try benchmark.make()
        let inputs = try sides.isEmpty ? [] : workload.writeInputs(exchange)
        defer { exchange.removeInputs() }
        workload.dropInputs()
        let results = try workload.results()
        defer { for twin in sides { _ = try? twin.ask(TwinRequest(command: .release)) } }
        let differences = try sides.map { try difference(benchmark, $0, inputs, results) }
        let (records, backgroundLoad) = try BenchmarkRunner(settings: settings.adapted(to: benchmark)).run(
            [OwnSide(workload)] + sides.map(TwinSide.init))
        let twins = sides.indices.map { (sides[$0].type, records[$0 + 1], differences[$0]) }
        return Outcome(
            ours: records[0], twins: twins, backgroundLoad: backgroundLoad,
            choice: try choice(benchmark, workload, results))
    }

    /// Measures the selected algorithm and its alternatives alternately, after the comparison with PyTorch, so that the
    /// memory of the alternatives does not count in the peak of the selected algorithm.
    private func choice(
        _ benchmark: BenchmarkCase, _ workload: Workload, _ results: [String: Tensor]
    ) throws -> ChoiceRecord? {
        guard !benchmark.alternatives.isEmpty else { return nil }
        let ways = benchmark.alternatives.map { OwnSide(workload, by: $0) }
        let differences = try ways.map {
            ResultDifference(try $0.results(), results, type: .float32)
        }
        let (records, _) = try BenchmarkRunner(settings: settings.adapted(to: benchmark)).run(
            [OwnSide(workload)] + ways)
        return ChoiceRecord(
            selected: records[0],
            ways: ways.indices.map { index in
                .init(
                    name: benchmark.alternatives[index].name, record: records[index + 1],
                    difference: differences[index])
            }, tolerance: benchmark.tolerances.float32)
    }

    /// Sides run one after the other; each releases its memory before the next starts.
    private func sequential(_ benchmark: BenchmarkCase, _ sides: [TwinProcess]) throws -> Outcome {
        var (inputs, results): ([String], [String: Tensor]) = ([], [:])
        defer { exchange.removeInputs() }
        var outcome: Outcome
        do {
            let workload = try benchmark.make()
            if !sides.isEmpty { inputs = try workload.writeInputs(exchange) }
            workload.dropInputs()
            results = try workload.results()
            let (records, backgroundLoad) = try BenchmarkRunner(settings: settings.adapted(to: benchmark)).run([
                OwnSide(workload)
            ])
            outcome = Outcome(ours: records[0], backgroundLoad: backgroundLoad)
        }
        OwnSide.releaseMemory()
        for twin in sides {
            if let reason = obstacle(benchmark.needs?.twin) {
                skipped.append(
                    SkippedCase(name: "\(benchmark.name), PyTorch in \(twin.type.rawValue)", reason: reason))
                continue
            }
            defer { _ = try? twin.ask(TwinRequest(command: .release)) }
            let difference = try difference(benchmark, twin, inputs, results)
            let (records, backgroundLoad) = try BenchmarkRunner(settings: settings.adapted(to: benchmark)).run([
                TwinSide(twin)
            ])
            outcome.twins.append((twin.type, records[0], difference))
            outcome.backgroundLoad = outcome.backgroundLoad.maximum(backgroundLoad)
        }
        return outcome
    }

    /// Prepares the case in `twin`, computes it once and compares the results.
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
