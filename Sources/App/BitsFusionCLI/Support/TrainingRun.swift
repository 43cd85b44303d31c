// SPDX-License-Identifier: Apache-2.0
// The shell of every training command: protects unfinished runs, resumes, reports, saves, and stops on signals.

import BitsFusion
import Foundation

/// One training run of a command.
struct TrainingRun {
    let loop: TrainingLoop
    let output: String
    /// Files that the run reads; the output must not be one of them.
    let inputs: [String]
    let label: String
    let saving: TrainingFileOptions
    let common: CommonOptions
    /// Compared with their values at the start, for the log; empty for dense models.
    var quantizedWeights: [FakeQuantizedWeight] = []

    typealias Train = (
        _ progress: (Int, Int, LossRecord) -> Void, _ save: () throws -> Void, _ shouldStop: () -> Bool
    ) throws -> Bool

    /// Runs the remaining steps.
    ///
    /// - Parameters:
    ///   - resume: restores the state from the file at a path; false if the run is finished.
    ///   - train: the trainer's `run`.
    ///   - write: writes the output.
    /// - Throws: `Interrupted` after saving; what the trainer and the files throw.
    func run(resume: (String) throws -> Bool, train: Train, write: @escaping () throws -> Void) throws {
        try Output.checkCanCreate(output, keeping: inputs)
        let exists = FileManager.default.fileExists(atPath: output)
        if saving.resume, exists {
            if try !resume(output) {
                Output.line("\(output): already finished")
                return
            }
        } else if saving.resume {
            Output.warning("--resume: \(output) does not exist; starting from scratch")
        } else if exists, !saving.overwrite {
            throw CommandError(.usage, "\(output): \(occupied)")
        }
        let progress = ProgressReporter(
            label, total: loop.options.steps, unit: "steps", isQuiet: common.quiet, first: loop.step)
        let log = try saving.loggingDir.map {
            try RunningLog(TrainingLog(folder: $0, step: loop.step), loop, quantizedWeights)
        }
        let isFinished = try train(
            { done, _, record in
                log?.add()
                progress.update(done, note: String(format: "mean loss %.4g", record.loss))
            },
            {
                // The run is saved even if its log is not.
                try write()
                try log?.checkWritten()
            },
            { InterruptFlag.isSet })
        try log?.checkWritten()
        progress.endLine()
        guard isFinished else {
            throw Interrupted(
                note: "step \(loop.step) of \(loop.options.steps) saved to \(output); continue with --resume")
        }
        let last = loop.history.last
        Output.line(
            "\(output): \(loop.step) steps, loss \(String(format: "%.5g", last?.loss ?? 0))"
                + (last?.parts.sorted { $0.key < $1.key }.map {
                    String(format: ", %@ %.5g", $0.key, $0.value)
                }
                .joined() ?? ""))
    }

    /// What the existing output file is, and how to go on.
    private var occupied: String {
        guard let checkpoint = try? CheckpointReader(output, formats: CheckpointFormat.allCases),
            let state = try? checkpoint.trainingState(),
            let progress = try? TrainingLoop.savedProgress(json: Data(state.json.utf8))
        else { return "exists already; pass --overwrite to replace it, or choose another --output" }
        return progress.isFinished
            ? "is a finished run of \(progress.step) steps; pass --overwrite to replace it, or choose another --output"
            : "is an unfinished run; pass --resume to continue it or --overwrite to discard it"
    }
}

/// Logs each step of a run with its speed and memory.
private final class RunningLog {
    private let log: TrainingLog
    private let loop: TrainingLoop
    private let drift: QuantizationDrift
    private let isQuantized: Bool
    private var last = ContinuousClock.now
    private var fault: FileError?

    init(_ log: TrainingLog, _ loop: TrainingLoop, _ weights: [FakeQuantizedWeight]) {
        self.log = log
        self.loop = loop
        drift = QuantizationDrift(of: weights)
        isQuantized = !weights.isEmpty
    }

    /// Appends the last step. A log that cannot be written ends the run at the next save.
    func add() {
        guard fault == nil, let metrics = loop.latest else { return }
        let now = ContinuousClock.now, seconds = (now - last) / .seconds(1)
        last = now
        var others = [
            "samplesPerSecond": Double(loop.options.batchSize) / max(seconds, .leastNonzeroMagnitude),
            "memory/peakBytes": Double(Numbers.peakMemory),
        ]
        if isQuantized, metrics.step % TrainingLoop.recordEvery == 0 || metrics.step == loop.options.steps {
            let moved = drift.measured()
            others["quantization/changedCodes"] = moved.changedCodes
            others["quantization/scaleDrift"] = moved.scaleDrift
        }
        do throws(FileError) {
            try log.add(metrics, others)
        } catch {
            fault = error
        }
    }

    func checkWritten() throws(FileError) {
        if let fault { throw fault }
    }
}
