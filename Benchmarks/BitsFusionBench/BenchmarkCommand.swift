// SPDX-License-Identifier: Apache-2.0
// The program `bitsfusion-bench`: benchmarks of this library and PyTorch on the same work, in one run.

import ArgumentParser
import BitsFusion
import Foundation

@main
struct BenchmarkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bitsfusion-bench",
        abstract: "Benchmark this library and PyTorch on the same work.",
        discussion: """
            Each case gives both sides the same inputs and weights, compares their results, and then measures them \
            alternately. Close other programs first. Run from the root of the repository after \
            `make benchmark-setup`:

              env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE .build/release/bitsfusion-bench kernels --filter conv

            Exit status: 0 success, 1 results differ, 64 usage error, 65 invalid file, 66 missing file, 70 PyTorch \
            failed, 73 and 74 files cannot be written.
            """,
        version: toolVersion)

    @Argument(
        help: "Groups of cases: kernels, forward, train, packed, pipeline, dataset, analyze, allocate (default: all).")
    var groups: [BenchmarkGroup] = []

    @Option(help: "Run only cases whose name matches this regular expression.")
    var filter: String?

    @Flag(help: "Print the names of the cases and exit.")
    var list = false

    @Flag(help: "Use fewer and shorter measurements.")
    var quick = false

    @Option(help: "Number of threads of each side (default: BITSFUSION_THREADS, else all processors).")
    var threads: Int?

    @Flag(help: "Run without PyTorch; results are not compared.")
    var oursOnly = false

    @Flag(help: "Also run PyTorch in Float32 on the large stage I step, which needs more than 24 GB.")
    var float32StageOne = false

    @Option(help: "Maximum seconds per case to wait until other programs are idle.")
    var maxWait: Double?

    @Option(help: "The Python executable with PyTorch.")
    var python = ".venv/bin/python"

    @Option(help: "The script that runs PyTorch.")
    var twin = "Benchmarks/pytorch/twin.py"

    @Option(help: "The folder of temporary files.")
    var folder = NSTemporaryDirectory()

    @Option(help: "Write all measurements to this file.")
    var json: String?

    @Option(
        help:
            "Write the tables to this Markdown file, between <!-- benchmark NAME --> and <!-- end of benchmark -->."
    )
    var markdown: String?

    @Option(help: "Print the report of an earlier run from its --json file, without measuring.")
    var from: String?

    func validate() throws {
        if from != nil, json != nil || filter != nil || !groups.isEmpty {
            throw ValidationError("--from: cannot be combined with --json, --filter or groups")
        }
        if markdown != nil, filter != nil || quick || oursOnly {
            throw ValidationError(
                "--markdown: requires a complete run: cannot be combined with --filter, --quick or --ours-only")
        }
        if let threads, threads < 1 {
            throw ValidationError("--threads: expected 1 or more, found \(threads)")
        }
        if let maxWait, !(maxWait >= 0) {
            throw ValidationError("--max-wait: expected 0 or more, found \(maxWait)")
        }
        if let filter, (try? Regex(filter)) == nil {
            throw ValidationError("--filter: expected a regular expression, found \(filter)")
        }
    }

    func run() throws {
        do {
            try runCases()
        } catch let error as BenchmarkError {
            printError("bitsfusion-bench: \(error)")
            throw ExitCode(error.exitStatus)
        } catch let error as any CategorizedError {
            printError("bitsfusion-bench: \(error)")
            throw ExitCode(74)
        }
    }

    private func runCases() throws {
        let cases = try selectedCases()
        if list {
            for benchmark in cases { print(benchmark.name) }
            return
        }
        if let from { return try printReport(from) }
        if let threads { Threads.count = threads }
        let exchange = try TensorExchange(below: folder)
        exchange.removeOnInterrupt()
        // Ignored, so that writing to an ended process is reported as an error.
        signal(SIGPIPE, SIG_IGN)
        let twins = try oursOnly ? [] : startTwins(for: cases)
        defer { for twin in twins { twin.close() } }
        let greeting = try twins.map { try $0.ask(TwinRequest(command: .hello)) }.first
        let ceiling = MachineCeiling.measured()
        OwnSide.releaseMemory()
        ProcessUsage.own.resetPeak()
        let machine = MachineDescription(
            ceiling: ceiling, twin: greeting, restingBytes: ProcessUsage.own.peakBytes,
            torchRestingBytes: try twins.first.flatMap(Self.restingBytes))
        var report = BenchmarkReport(machine: machine)
        for line in report.machine.lines { printLine(line) }
        printLine("")

        // Written now, so that a file that cannot be written is reported before the measurements.
        try write(report)
        let table = RowTable(names: cases.map(\.name))
        printLine(table.heading)
        let run = BenchmarkRun(
            settings: settings, ceiling: ceiling, twins: twins,
            exchange: exchange, runsOptionalTwins: float32StageOne)
        for benchmark in cases {
            let known = run.skipped.count
            if let row = try run.row(benchmark) {
                report.rows.append(row)
                printLine(table.line(row))
            }
            for skipped in run.skipped.dropFirst(known) { printLine("\(skipped.name): skipped: \(skipped.reason)") }
            report.machine.ceiling = run.ceiling
            report.skipped = run.skipped
            try write(report)
        }
        try finish(report)
    }

    private func printReport(_ path: String) throws {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw BenchmarkError.missingFile(path: path)
        }
        let decoder = JSONDecoder()
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        guard let report = try? decoder.decode(BenchmarkReport.self, from: data) else {
            throw BenchmarkError.notAReport(path: path)
        }
        for line in report.machine.lines + [""] { printLine(line) }
        let table = RowTable(names: report.rows.map(\.name))
        printLine(table.heading)
        for row in report.rows { printLine(table.line(row)) }
        try finish(report)
    }

    /// Writes the rows so far, so that an interrupted run keeps its measurements.
    private func write(_ report: BenchmarkReport) throws {
        guard let json else { return }
        let encoder = JSONEncoder.document
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        try write(encoder.encode(report), to: json)
    }

    private func write(_ data: Data, to path: String) throws(BenchmarkError) {
        do {
            try data.write(to: URL(fileURLWithPath: path), options: .atomic)
        } catch {
            throw .unwritable(path: path)
        }
    }

    private func update(_ path: String, _ report: BenchmarkReport) throws {
        guard let text = FileManager.default.contents(atPath: path) else {
            throw BenchmarkError.missingFile(path: path)
        }
        let document = String(decoding: text, as: UTF8.self)
        let updated = try MarkdownTables(report).replaced(in: document, path: path)
        try write(Data(updated.utf8), to: path)
    }

    private func finish(_ report: BenchmarkReport) throws {
        printLine("")
        for line in RowTable.legend { printLine(line) }
        for line in ChoiceTable(report.rows).lines + CurveTable(report.rows).lines { printLine(line) }
        for row in report.rows where (row.backgroundLoad.idleLoad ?? 0) > 0.05 {
            let load = Format.percent(row.backgroundLoad.idleLoad ?? 0)
            printLine("warning: \(row.name): a side used \(load) of a processor while another one was measured")
        }
        if let markdown { try update(markdown, report) }
        let failed = report.rows.filter { !$0.agrees }
        for row in failed {
            for way in row.choice?.ways ?? [] where row.choice?.agrees == false {
                printError(
                    "bitsfusion-bench: \(row.name): result \(way.difference.name) of \(way.name) differs from that of "
                        + "the selected algorithm by \(Format.difference(way.difference.largest)) of its largest value"
                )
            }
            for twin in row.twins where !twin.agrees {
                printError(
                    "bitsfusion-bench: \(row.name): result \(twin.difference.name): difference from PyTorch in "
                        + "\(twin.type.rawValue), relative to its largest value: expected at most "
                        + "\(Format.difference(twin.tolerance)), found \(Format.difference(twin.difference.largest))")
            }
        }
        if !failed.isEmpty { throw ExitCode(1) }
    }

    private static func restingBytes(_ twin: TwinProcess) throws -> Int? {
        let side = TwinSide(twin)
        try side.resetPeak()
        return try side.peakBytes()
    }

    private var settings: RunnerSettings {
        var settings = quick ? RunnerSettings.quick : RunnerSettings()
        if let maxWait { settings.maxWait = maxWait }
        return settings
    }

    private func selectedCases() throws -> [BenchmarkCase] {
        let selected = groups.isEmpty ? BenchmarkGroup.allCases : groups
        let cases = BenchmarkCase.all.filter { selected.contains($0.group) }
        guard let filter else { return cases }
        let expression = try Regex(filter)
        let found = cases.filter { $0.name.firstMatch(of: expression) != nil }
        guard !found.isEmpty else { throw BenchmarkError.noCase(filter: filter) }
        return found
    }

    private func startTwins(for cases: [BenchmarkCase]) throws -> [TwinProcess] {
        let types = TwinType.allCases.filter { type in cases.contains { $0.twins.contains(type) } }
        return try types.map {
            try TwinProcess(python: python, script: twin, type: $0, threads: Threads.count)
        }
    }

    /// Prints and flushes, so that rows are visible immediately.
    private func printLine(_ text: String) {
        print(text)
        fflush(nil)
    }

    private func printError(_ text: String) {
        FileHandle.standardError.write(Data((text + "\n").utf8))
    }
}

extension BenchmarkGroup: ExpressibleByArgument {}
