// SPDX-License-Identifier: Apache-2.0
// What is observed of a run after its steps: the log, the loss on held-out samples, and previews. Nothing here changes
// the training.

import BitsFusion
import Foundation

/// What is measured every few steps.
struct RecurringMeasurement<Value> {
    let interval: StepInterval
    let measure: () throws -> Value

    init(_ interval: StepInterval, _ measure: @escaping () throws -> Value) {
        self.interval = interval
        self.measure = measure
    }
}

/// What is observed of a run.
struct TrainingObservation {
    /// The loss on held-out samples; nil when stopped by a signal.
    var validation: RecurringMeasurement<ValidationLoss?>?
    /// A grid of samples; nil for samples that are not finite.
    var preview: RecurringMeasurement<RGBImage?>?
    /// Compared with their values at the start, for the log; empty for dense models.
    var quantizedWeights: [FakeQuantizedWeight] = []
}

/// Observes one run.
final class TrainingMonitor {
    private let loop: TrainingLoop
    private let observation: TrainingObservation
    private let folder: String?
    private let log: TrainingLog?
    private let drift: QuantizationDrift?
    private var losses: [Float] = []
    /// The last value and its step.
    private(set) var validation: (loss: ValidationLoss, step: Int)?
    private var last = ContinuousClock.now
    private var fault: (any Error)?

    /// Opens the log.
    ///
    /// - Parameters:
    ///   - loop: the run, resumed or at its start.
    ///   - observation: what is measured.
    ///   - folder: the folder of the log; nil for none.
    /// - Throws: `FileError`.
    init(_ loop: TrainingLoop, _ observation: TrainingObservation, folder: String?) throws {
        self.loop = loop
        self.observation = observation
        self.folder = folder
        log = try folder.map { try TrainingLog(folder: $0, step: loop.step) }
        let weights = log == nil ? [] : observation.quantizedWeights
        drift = weights.isEmpty ? nil : QuantizationDrift(of: weights)
    }

    /// Validates and samples the model that a new run starts from.
    ///
    /// - Throws: what these throw; `Interrupted`, since there is nothing to save yet.
    func start() throws {
        guard loop.step == 0 else { return }
        do {
            let values = try validationValues()
            if !values.isEmpty { try log?.add(step: 0, values) }
            try addPreview()
        } catch is Interrupted {
            throw Interrupted(note: "no step is done")
        }
        last = .now
    }

    /// Logs the last step, and validates and samples where it is due. What cannot be measured or written ends the run
    /// at the next save.
    func stepIsDone() {
        guard fault == nil, let metrics = loop.latest else { return }
        losses = Array(losses.suffix(TrainingLoop.recordEvery - 1)) + [metrics.loss]
        let now = ContinuousClock.now, seconds = (now - last) / .seconds(1)
        do {
            let validated = try unlessInterrupted { try validationValues() }
            try log?.add(metrics, stepValues(seconds).merging(validated ?? [:]) { $1 })
            try unlessInterrupted { try addPreview() }
        } catch {
            fault = error
        }
        // Validation and previews do not count in the speed of the next step, saves do.
        last = .now
    }

    /// The result of `body`; nil after a signal, when the run is saved and stops after this step.
    @discardableResult
    private func unlessInterrupted<Value>(_ body: () throws -> Value) throws -> Value? {
        do {
            return try body()
        } catch is Interrupted {
            return nil
        }
    }

    /// The mean loss of the latest steps, and the last validation.
    var note: String {
        guard !losses.isEmpty else { return "" }
        let mean = losses.reduce(0, +) / Float(losses.count)
        let steps = losses.count == 1 ? "loss of 1 step" : "mean loss of \(losses.count) steps"
        return String(format: "%@ %.4g", steps, mean)
            + (validation.map { String(format: ", validation loss %.4g at step %d", $0.loss.loss, $0.step) } ?? "")
    }

    /// - Throws: the error of an earlier step.
    func checkWritten() throws {
        if let fault { throw fault }
    }

    private func stepValues(_ seconds: Double) -> [String: Double] {
        var values = [
            "samplesPerSecond": Double(loop.options.batchSize) / max(seconds, .leastNonzeroMagnitude),
            "data/waitSeconds": loop.latest?.dataSeconds ?? 0, "memory/peakBytes": Double(Numbers.peakMemory),
        ]
        if let resident = Numbers.residentMemory { values["memory/residentBytes"] = Double(resident) }
        if let moved = drift?.measured() {
            values["quantization/changedCodes"] = moved.changedCodes
            values["quantization/scaleDrift"] = moved.scaleDrift
        }
        return values
    }

    private func validationValues() throws -> [String: Double] {
        guard let due = observation.validation, due.interval.isDue(loop.step, of: loop.options.steps)
        else { return [:] }
        guard let found = try due.measure() else { throw Interrupted() }
        validation = (found, loop.step)
        let parts = found.parts.map { ("validation/loss/" + $0.key, Double($0.value)) }
        return Dictionary(uniqueKeysWithValues: parts + [("validation/loss", Double(found.loss))])
    }

    private func addPreview() throws {
        guard let folder, let due = observation.preview, due.interval.isDue(loop.step, of: loop.options.steps)
        else { return }
        guard let image = try due.measure() else {
            Output.warning("step \(loop.step): preview: samples are not finite; no image is written")
            return
        }
        let bytes = try PNGFile.encode(image)
        try AtomicFile.write(bytes, to: folder + String(format: "/preview-%06d.png", loop.step))
        try log?.add(image: bytes, width: image.width, height: image.height, tag: "preview", step: loop.step)
    }
}
