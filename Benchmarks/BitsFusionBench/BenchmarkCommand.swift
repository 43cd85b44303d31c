// SPDX-License-Identifier: Apache-2.0
// The program `bitsfusion-bench`: our side against PyTorch's, in one run, on the same work.

import ArgumentParser
import BitsFusion
import Foundation

@main
struct BenchmarkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bitsfusion-bench",
        abstract: "Times this library and PyTorch on the same work, in turn, in one run.",
        discussion: """
            Every case gives both sides the same inputs and weights, compares what they compute, and then measures \
            them alternately. Close other programs first. From the root of the repository, after \
            `make benchmark-setup`:

              env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE .build/release/bitsfusion-bench kernels --filter conv

            Exit status: 0 done, 1 where two sides computed different things, 64 wrong usage, 65 and 66 files that \
            are faulty or missing, 70 where PyTorch's side failed, 73 and 74 where files cannot be written.
            """,
        version: toolVersion)

    @Argument(help: "What to run: kernels, forward, train, analyze, allocate; all of them when left out.")
    var groups: [BenchmarkGroup] = []

    @Option(help: "Only cases in whose name this regular expression is found.")
    var filter: String?

    @Flag(help: "Print the names of the cases and end.")
    var list = false

    @Flag(help: "Fewer and shorter measurements, for a first impression.")
    var quick = false

    @Option(help: "Threads of each side (default: BITSFUSION_THREADS, else all processors).")
    var threads: Int?

    @Flag(help: "Leave PyTorch out: nothing is compared.")
    var oursOnly = false

    @Flag(help: "Run PyTorch in Float32 on the large stage I step as well, which needs more than 24 GB.")
    var float32StageOne = false

    @Option(help: "Seconds that a case waits at most for other programs to leave the processors alone.")
    var patience: Double?

    @Option(help: "The Python that has PyTorch.")
    var python = ".venv/bin/python"

    @Option(help: "PyTorch's side.")
    var twin = "Benchmarks/pytorch/twin.py"

    @Option(help: "A folder for temporary files.")
    var folder = NSTemporaryDirectory()

    @Option(help: "Write everything that was measured to this file.")
    var json: String?

    @Option(
        help:
            "Put the tables into this markdown file, between <!-- benchmark NAME --> and <!-- end of benchmark -->."
    )
    var markdown: String?

    @Option(help: "Measure nothing: print, and put into --markdown, what an earlier run wrote with --json.")
    var from: String?

    func validate() throws {
        if from != nil, json != nil || filter != nil || !groups.isEmpty {
            throw ValidationError("--from repeats a whole report: leave out --json, --filter and groups")
        }
        if markdown != nil, filter != nil || quick || oursOnly {
            throw ValidationError(
                "--markdown takes whole runs only: leave out --filter, --quick and --ours-only")
        }
        if let threads, threads < 1 {
            throw ValidationError("--threads: expected 1 or more, found \(threads)")
        }
        if let patience, !(patience >= 0) {
            throw ValidationError("--patience: expected 0 or more, found \(patience)")
        }
        if let filter, (try? Regex(filter)) == nil {
            throw ValidationError("--filter: \(filter) is not a regular expression")
        }
    }

    func run() throws {
        do {
            try runCases()
        } catch let error as BenchmarkError {
            printError("bitsfusion-bench: \(error)")
            throw ExitCode(error.exitStatus)
        } catch let error as CheckpointError {
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
        if let from { return try repeatReport(from) }
        if let threads { Threads.count = threads }
        let exchange = try TensorExchange(below: folder)
        exchange.removeOnInterrupt()
        // A twin that has ended shall be an error with a text, not a signal.
        signal(SIGPIPE, SIG_IGN)
        let twins = try oursOnly ? [] : startTwins(for: cases)
        defer { for twin in twins { twin.close() } }
        let greeting = try twins.map { try $0.ask(TwinRequest(command: .hello)) }.first
        let ceiling = MachineCeiling.measured()
        OwnContestant.releaseMemory()
        ProcessUsage.own.resetPeak()
        let machine = MachineDescription(
            ceiling: ceiling, twin: greeting, restingBytes: ProcessUsage.own.peakBytes,
            torchRestingBytes: try twins.first.flatMap(Self.restingBytes))
        var report = BenchmarkReport(machine: machine)
        for line in report.machine.lines { printLine(line) }
        printLine("")

        // A file that cannot be written shall not be found out at the end of an hour.
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
            for left in run.skipped.dropFirst(known) { printLine("\(left.name): left out: \(left.reason)") }
            report.machine.ceiling = run.ceiling
            report.skipped = run.skipped
            try write(report)
        }
        try finish(report)
    }

    private func repeatReport(_ path: String) throws {
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

    /// Writes what is known so far, so that a run that breaks off keeps what it measured.
    private func write(_ report: BenchmarkReport) throws {
        guard let json else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
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
        for row in report.rows where (row.disturbance.idleLoad ?? 0) > 0.05 {
            let load = Format.percent(row.disturbance.idleLoad ?? 0)
            printLine("warning: \(row.name): sides used \(load) of a processor while it was another's turn")
        }
        if let markdown { try update(markdown, report) }
        let failed = report.rows.filter { !$0.agrees }
        for row in failed {
            for way in row.choice?.ways ?? [] where row.choice?.agrees == false {
                printError(
                    "bitsfusion-bench: \(row.name): by \(way.name), the result \(way.difference.name) differs by "
                        + "\(Format.difference(way.difference.largest)) of its largest value from the choice's"
                )
            }
            for twin in row.twins where !twin.agrees {
                printError(
                    "bitsfusion-bench: \(row.name): result \(twin.difference.name) differs from PyTorch's in "
                        + "\(twin.type.rawValue) by \(Format.difference(twin.difference.largest)) of its largest "
                        + "value, more than \(Format.difference(twin.tolerance)): the times do not compare")
            }
        }
        if !failed.isEmpty { throw ExitCode(1) }
    }

    private static func restingBytes(_ twin: TwinProcess) throws -> Int? {
        let side = TwinContestant(twin)
        try side.resetPeak()
        return try side.peakBytes()
    }

    private var settings: MatchSettings {
        var settings = quick ? MatchSettings.quick : MatchSettings()
        if let patience { settings.patience = patience }
        return settings
    }

    private func selectedCases() throws -> [BenchmarkCase] {
        let chosen = groups.isEmpty ? BenchmarkGroup.allCases : groups
        let cases = BenchmarkCase.all.filter { chosen.contains($0.group) }
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

    /// Prints at once, so that rows are seen as they are made.
    private func printLine(_ text: String) {
        print(text)
        fflush(nil)
    }

    private func printError(_ text: String) {
        FileHandle.standardError.write(Data((text + "\n").utf8))
    }
}

extension BenchmarkGroup: ExpressibleByArgument {}
