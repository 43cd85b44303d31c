// SPDX-License-Identifier: Apache-2.0
// The log of a training run: a folder with `metrics.jsonl`, one line per step, and an event file of TensorBoard for
// each time that the run was started or resumed.

import Files
import Foundation

/// Writes the metrics of a run to a folder.
public final class TrainingLog {
    /// The file of JSON lines.
    public let path: String
    private let lines: FileHandle
    private let events: TensorBoardFile

    public static let fileName = "metrics.jsonl"

    /// Opens the log, which is created if it does not exist.
    ///
    /// - Parameters:
    ///   - folder: the folder; its parent must exist.
    ///   - step: the number of steps done: 0 for a new run, which replaces `metrics.jsonl`. Lines of later steps, which
    ///     were logged but not saved with the model, are removed.
    /// - Throws: `FileError`.
    public init(folder: String, step: Int) throws {
        path = folder + "/" + Self.fileName
        if mkdir(folder, 0o777) != 0, errno != EEXIST { throw FileError.cannotCreate(path: folder, code: errno) }
        try AtomicFile.write(Self.kept(path, upTo: step), to: path)
        let descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileError.cannotCreate(path: path, code: errno) }
        lines = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        events = try TensorBoardFile(in: folder, step: step)
    }

    /// Appends one step.
    ///
    /// - Parameters:
    ///   - metrics: the step.
    ///   - others: further values by name, such as `samplesPerSecond`. A slash in a name groups charts in TensorBoard.
    /// - Throws: `FileError.appendFailed`.
    public func add(_ metrics: StepMetrics, _ others: [String: Double] = [:]) throws(FileError) {
        var values = others.merging(metrics.parts.map { ("loss/" + $0.key, Double($0.value)) }) { $1 }
        values["loss"] = Double(metrics.loss)
        values["gradientNorm"] = Double(metrics.gradientNorm)
        values["learningRate"] = Double(metrics.learningRate)
        try add(step: metrics.step, values)
    }

    /// Appends values of a step, such as the validation loss before the first one.
    ///
    /// - Throws: `FileError.appendFailed`.
    public func add(step: Int, _ values: [String: Double]) throws(FileError) {
        try events.add(values, step: step)
        let members =
            [("step", "\(step)")]
            + values.sorted { byBytes($0.key, $1.key) }.map { ($0.key, $0.value.isFinite ? "\($0.value)" : "null") }
        let line = "{" + members.map { "\"\($0.0)\": \($0.1)" }.joined(separator: ", ") + "}\n"
        do {
            try lines.write(contentsOf: Array(line.utf8))
        } catch {
            throw .appendFailed(path: path, code: errno)
        }
    }

    /// Appends an image for TensorBoard: the bytes of a PNG file.
    ///
    /// - Throws: `FileError.appendFailed`.
    public func add(image png: [UInt8], width: Int, height: Int, tag: String, step: Int) throws(FileError) {
        try events.add(image: png, width: width, height: height, tag: tag, step: step)
    }

    /// The complete lines of an earlier log up to `step`.
    private static func kept(_ path: String, upTo step: Int) -> String {
        guard step > 0, let text = try? TextDocument.text(path) else { return "" }
        return text.split(separator: "\n").filter { line in
            let value = try? JSONValue(Array(line.utf8))
            return value?["step"]?.integer.map { $0 <= step } ?? false
        }.map { $0 + "\n" }.joined()
    }
}
