// SPDX-License-Identifier: Apache-2.0
// What every training command does around its loop: refuse to overwrite an unfinished run, resume, report, save,
// stop when asked to.

import ArgumentParser
import BitsFusion
import Foundation

struct TrainingFileOptions: ParsableArguments {
    @Flag(help: "Continue the unfinished run in the output file.")
    var resume = false

    @Flag(help: "Start anew even if the output file holds an unfinished run.")
    var overwrite = false

    func validate() throws {
        if resume && overwrite { throw ValidationError("--resume and --overwrite exclude each other") }
    }
}

/// One training run as a command sees it.
struct TrainingRun {
    let loop: TrainingLoop
    let output: String
    /// Files that the run reads; none may be the output.
    let inputs: [String]
    let label: String
    let saving: TrainingFileOptions
    let common: CommonOptions

    typealias Train = (
        _ progress: (Int, Int, LossRecord) -> Void, _ save: () throws -> Void, _ shouldStop: () -> Bool
    ) throws -> Bool

    /// Runs the steps that are left.
    ///
    /// - Parameters:
    ///   - resume: takes the state out of the file at a path; false where there is none.
    ///   - train: the trainer's `run`.
    ///   - write: writes the output.
    /// - Throws: `Interrupted` after saving; what the trainer and the files throw.
    func run(resume: (String) throws -> Bool, train: Train, write: @escaping () throws -> Void) throws {
        try Output.checkCanCreate(output, keeping: inputs)
        let exists = FileManager.default.fileExists(atPath: output)
        if saving.resume, exists {
            if try !resume(output) {
                Output.line("\(output) is finished already")
                return
            }
        } else if saving.resume {
            Output.warning("\(output) does not exist yet; starting at step 0")
        } else if exists, !saving.overwrite, try holdsUnfinishedRun() {
            throw CommandError(
                .usage,
                "\(output) holds an unfinished run; add --resume to continue it or --overwrite to drop it")
        }
        let progress = ProgressReporter(
            label, total: loop.options.steps, unit: "steps", isQuiet: common.quiet, first: loop.step)
        let isFinished = try train(
            { done, _, record in progress.update(done, note: String(format: "loss %.4g", record.loss)) },
            write,
            { InterruptFlag.isSet })
        progress.endLine()
        guard isFinished else {
            throw Interrupted(
                note: "step \(loop.step) of \(loop.options.steps) saved to \(output); add --resume to go on")
        }
        let last = loop.history.last
        Output.line(
            "\(output): \(loop.step) steps, loss \(String(format: "%.5g", last?.loss ?? 0))"
                + (last?.parts.sorted { $0.key < $1.key }.map {
                    String(format: ", %@ %.5g", $0.key, $0.value)
                }
                .joined() ?? ""))
    }

    /// Whether the present output file is an interrupted run; a file of any other kind is not.
    private func holdsUnfinishedRun() throws -> Bool {
        guard let checkpoint = try? CheckpointReader(output, formats: CheckpointFormat.allCases),
            let state = try? checkpoint.trainingState(),
            let progress = try? TrainingLoop.savedProgress(json: Data(state.json.utf8))
        else { return false }
        return !progress.isFinished
    }
}
