// SPDX-License-Identifier: Apache-2.0
// The processes of a command that `mpirun` has started several times: their start, what must be the same in all of
// them, and their common end. Process 0 prints; errors of others carry their number and machine.

import ArgumentParser
import BitsFusion
import Foundation

/// A command that several processes can run together.
protocol CommandOfProcesses: ParsableCommand {}

/// Options of such commands.
struct ProcessOptions: ParsableArguments {
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            """
            With several processes (`mpirun`): end the run if a process does not answer for <s> seconds (default: 600).
            """, valueName: "s"))
    var watchdog: Double?

    func validate() throws {
        if let watchdog, !(watchdog >= 1 && watchdog.isFinite) {
            throw ValidationError("--watchdog: expected 1 or more seconds, found \(watchdog)")
        }
    }
}

/// The option of training commands.
struct ShardingOptions: ParsableArguments {
    @Flag(
        help: """
            With several processes: every process holds the optimizer's moments of a part of the weights only. The \
            result is the same.
            """)
    var shardOptimizer = false
}

enum Processes {
    /// Set once, before other threads are started that could read it.
    private nonisolated(unsafe) static var job: MPICommunicator?
    private static let single = SingleProcess()

    /// The processes of this run.
    static var communicator: any Communicator { job ?? single }

    /// Silences all processes of a launcher but the first one.
    static func silenceOthers() {
        if let launcher = MPILauncher(), launcher.rank > 0 { Output.silence() }
    }

    /// Refuses to run a command several times at once.
    ///
    /// - Throws: `CommandError`.
    static func checkIsAlone(_ command: String) throws {
        guard let launcher = MPILauncher() else { return }
        throw CommandError(
            .usage, "\(launcher.description), but \(command) runs in one process; start it without mpirun")
    }

    /// Starts MPI if a launcher has started several processes, and shares out the processors of each machine.
    ///
    /// - Throws: `MPIError`; `CommandError` if the processes differ.
    static func start(_ options: ProcessOptions, _ common: CommonOptions) throws {
        guard job == nil, let launcher = MPILauncher() else { return }
        let job = try MPICommunicator(launcher, deadline: options.watchdog ?? 600) {
            Output.error("bitsfusion: \($0)")
        } isEnding: {
            InterruptFlag.isSet
        }
        Self.job = job
        InterruptFlag.ignoreRepeatedTermination()
        PanelCache.shareMemory(of: job.sizeOfMachine)
        let threads = try shareProcessors(job, common)
        let machines = Set(job.hosts).count
        guard !common.quiet else { return try checkProgram() }
        Output.toStandardError(
            "\(job.size) processes on \(machines == 1 ? "1 machine" : "\(machines) machines"), "
                + "\(threads) each; \(job.library)\n")
        try checkProgram()
    }

    private static func checkProgram() throws {
        try agree(on: [
            ("version", toolVersion), ("program", try FileDigest.sha256(ofFile: "/proc/self/exe")),
            ("kernels", kernelInstructionSet), ("kernels of bfloat16", bfloat16InstructionSet),
            ("OpenBLAS kernels", openBLASCoreName),
        ])
    }

    /// Divides the processors that several processes of a machine may use by their number.
    ///
    /// - Returns: the number of threads, in words.
    private static func shareProcessors(_ job: MPICommunicator, _ common: CommonOptions) throws -> String {
        let mine = "\(job.host) \(Processors.list)"
        let all = try job.gather(Array(mine.utf8)).map { String(decoding: $0, as: UTF8.self) }
        let isChosen = common.threads != nil || getenv("BITSFUSION_THREADS") != nil
        if !isChosen { Threads.count = max(Threads.count / all.count { $0 == mine }, 1) }
        let counts = Set(try job.gather(Array("\(Threads.count)".utf8)).map { String(decoding: $0, as: UTF8.self) })
        return counts == ["1"] ? "1 thread" : counts.sorted().joined(separator: " or ") + " threads"
    }

    /// Checks that values are the same in all processes.
    ///
    /// - Throws: `CommandError`, naming the value and a process.
    static func agree(on values: [(name: String, value: String)]) throws {
        guard let job else { return }
        for (name, value) in values {
            guard let found = try job.difference(in: value) else { continue }
            let (other, first) = excerpts(found.other, found.first)
            throw CommandError(
                .badData,
                "\(name): process \(found.rank) on \(job.hosts[found.rank]) has \(other), process 0 on "
                    + "\(job.hosts[0]) has \(first); start all processes with the same program, files "
                    + "and kind of processor")
        }
    }

    /// Two different texts, shortened; long ones from a little before their first difference on.
    static func excerpts(_ a: String, _ b: String) -> (String, String) {
        let common = zip(a, b).prefix { $0 == $1 }.count
        let skipped = common - 20
        guard skipped > 20 else { return (a.shortened, b.shortened) }
        func excerpt(_ text: String) -> String { ("..." + text.dropFirst(skipped)).shortened }
        return (excerpt(a), excerpt(b))
    }

    /// Checks that the command line and the contents of `files` are the same in all processes.
    ///
    /// - Throws: `CommandError`, naming the file and a process; `FileError`.
    static func agree(onArgumentsAnd files: [String]) throws {
        guard job != nil else { return }
        try agree(
            on: [("arguments", Output.decidingArguments.joined(separator: " "))]
                + files.map { ($0, try FileDigest.sha256(ofFile: $0)) })
    }

    /// Ends this process's part of the run, and prints why the run ended.
    ///
    /// - Parameters:
    ///   - status: how this process ended.
    ///   - message: the line of its error.
    /// - Returns: the exit status of the run.
    static func finish(_ status: ExitStatus, message: String?) -> Int32 {
        let isFailure = status != .success
        guard let job else {
            if isFailure, let message {
                // The first process has the same error, and the launcher ends this one meanwhile; unless MPI is missing
                // on this machine alone.
                if Output.isSilent { sleep(15) }
                if !InterruptFlag.isSet || !Output.isSilent { Output.error(message) }
            }
            return status.rawValue
        }
        let own = ProcessReport(
            rank: job.rank, host: job.host, status: status.rawValue, message: message)
        let reports = job.conclude(isFailure && message != nil ? own : nil)
        if job.isFirst { for line in lines(of: reports, processes: job.size) { Output.error(line) } }
        if !InterruptFlag.isSet { job.finalize() }
        return reports.map(\.status).max() ?? status.rawValue
    }

    /// One line for each message. Messages of all processes, and that of an interruption, name no process.
    static func lines(of reports: [ProcessReport], processes: Int) -> [String] {
        var lines: [String] = [], seen: Set<String> = []
        for report in reports {
            guard let message = report.message, seen.insert(message).inserted else { continue }
            let isCommon = reports.count == processes && reports.allSatisfy { $0.message == message }
            let isInterruption = report.status == ExitStatus.interrupted.rawValue
            lines.append(
                isCommon || isInterruption
                    ? message : "\(message) (process \(report.rank) of \(processes) on \(report.host))")
        }
        return lines
    }
}
