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
    var observation = TrainingObservation()

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
        let isFirst = loop.communicator.isFirst
        if isFirst { try Output.checkCanCreate(output, keeping: inputs) }
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
        try Processes.agree(on: [("step", "\(loop.step)")])
        if loop.options.precision == .bfloat16, ProductPrecision.bfloat16Time > 1.1 {
            let ratio = Numbers.fixed(ProductPrecision.bfloat16Time, 1)
            Output.warning(
                "precision: bfloat16: products take \(ratio) times as long as in float32 on this processor; float32 is "
                    + "faster here")
        }
        // The others would measure the same.
        let monitor = try TrainingMonitor(
            loop, isFirst ? observation : TrainingObservation(), folder: isFirst ? saving.loggingDir : nil)
        try monitor.start()
        let progress = ProgressReporter(
            label, total: loop.options.steps, unit: "steps", isQuiet: common.quiet, first: loop.step)
        let isFinished = try train(
            { done, _, _ in
                monitor.stepIsDone()
                progress.update(done, note: monitor.note)
            },
            {
                // The run is saved even if its log is not.
                try write()
                try monitor.checkWritten()
            },
            { InterruptFlag.isSet })
        try monitor.checkWritten()
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
                .joined() ?? "")
                + (monitor.validation.map { String(format: ", validation loss %.5g", $0.loss.loss) } ?? ""))
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
