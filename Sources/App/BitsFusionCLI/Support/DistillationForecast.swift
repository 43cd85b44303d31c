// SPDX-License-Identifier: Apache-2.0
// The forecast of `distill --dry-run`: times measured on the run's own model and data, and sizes computed from the
// numbers of parameters. Nothing is written.

import BitsFusion
import Foundation

struct DistillationForecast {
    /// Something that is done every few steps.
    private struct Recurring {
        let name: String
        let count: Int
        /// Seconds of one of them.
        let seconds: Double
        let basis: String

        var total: Double { Double(count) * seconds }
    }

    private let trainer: DistillationTrainer
    private let preparation: Double
    private let step: StepForecast
    private let recurring: [Recurring]
    private let peakMemory: Int
    /// nil for a model that `pack` does not take.
    private let packedBytes: Int?

    /// Measures the run; the trainer must not be used afterwards.
    ///
    /// - Parameters:
    ///   - trainer: a run at its start.
    ///   - preparation: the seconds that it took to make it.
    ///   - validation: when the run is validated; nil for never.
    ///   - previews: when images are sampled, and how; nil for never.
    /// - Throws: `Interrupted`; what training and sampling throw.
    init(
        _ trainer: DistillationTrainer, preparation: Double, validation: StepInterval?,
        previews: (interval: StepInterval, images: TrainingPreview)?
    ) throws {
        self.trainer = trainer
        self.preparation = preparation
        let steps = trainer.loop.options.steps
        guard let step = try trainer.forecast(shouldStop: { InterruptFlag.isSet }) else { throw Interrupted() }
        self.step = step
        var recurring: [Recurring] = []
        if let validation {
            let (seconds, samples) = try Self.validationSeconds(trainer)
            recurring.append(
                Recurring(
                    name: "validation", count: validation.count(in: steps), seconds: seconds,
                    basis: "measured with \(samples) of \(trainer.validationSize) samples"))
        }
        if let previews {
            let seconds = try trainer.withFinalWeights { _ in try previews.images.forecastSeconds() }
            recurring.append(
                Recurring(
                    name: "previews", count: previews.interval.count(in: steps), seconds: seconds,
                    basis: "measured with two sampling steps"))
        }
        self.recurring = recurring
        peakMemory = Numbers.peakMemory
        packedBytes = try trainer.model.packedBytes()
    }

    /// The seconds of a validation, from one batch after one that does not count.
    private static func validationSeconds(_ trainer: DistillationTrainer) throws -> (seconds: Double, samples: Int) {
        let options = trainer.loop.options
        let samples = min(options.samplesAtOnce, trainer.validationSize)
        func measure() throws -> Double {
            let start = ContinuousClock.now
            guard try trainer.validationLoss(limit: samples, shouldStop: { InterruptFlag.isSet }) != nil else {
                throw Interrupted()
            }
            return Numbers.seconds(start.duration(to: .now))
        }
        _ = try measure()
        return (try measure() * Double(trainer.validationSize) / Double(samples), samples)
    }

    /// Prints a line for each number, with what it is based on.
    func print(output: String) {
        let options = trainer.loop.options
        var table = TextTable(["", "", ""], alignments: [.left, .right, .left])
        addTimes(to: &table, options)
        addMemory(to: &table)
        let saves = StepInterval(every: options.saveEvery).count(in: options.steps) - 1
        let kind = trainer.fileFormat == .student ? "student" : "model"
        table.add(["\(kind) file", Numbers.bytes(trainer.fileBytes), "computed: \(output); number of saves: \(saves)"])
        if let packedBytes {
            table.add(["packed file", Numbers.bytes(packedBytes), "computed, at most: of `bitsfusion pack \(output)`"])
        }
        for line in table.lines.dropFirst() { Output.line(line) }
        Output.line("no file was written")
    }

    private func addTimes(to table: inout TextTable, _ options: TrainingOptions) {
        let training = Double(options.steps) * step.stepSeconds
        table.add([
            "time per step", Self.time(step.stepSeconds),
            "measured: \(step.microBatchSeconds.count) micro-batches of \(options.samplesAtOnce), "
                + "\(Self.time(step.microBatchMean)) each, and an update, \(Self.time(step.updateSeconds)), for a step "
                + "of \(options.batchSize) samples",
        ])
        table.add([
            "images per second", Numbers.fixed(Double(options.batchSize) / step.stepSeconds, 2),
            "from the time per step",
        ])
        table.add([
            "preparation", Self.time(preparation), "measured: reading and quantizing the model, checking the data",
        ])
        table.add(["training", Self.time(training), "\(options.steps) steps"])
        for item in recurring {
            table.add([
                item.name, Self.time(item.total), "\(item.count) times \(Self.time(item.seconds)), \(item.basis)",
            ])
        }
        let total = preparation + training + recurring.reduce(0) { $0 + $1.total }
        table.add(["total", Self.time(total), Numbers.fixed(total / 3600, 2) + " hours, without the time of saves"])
    }

    private func addMemory(to table: inout TextTable) {
        let memory = trainer.memory
        table.add(["peak memory", Numbers.bytes(peakMemory), "measured so far, resident"])
        for (name, bytes) in [
            ("student", memory.student), ("gradients", memory.gradients), ("moments", memory.moments),
            ("moving average", memory.average), ("teacher", memory.teacher),
        ] where bytes > 0 { table.add(["  \(name)", Numbers.bytes(bytes), "computed"]) }
    }

    /// With the digits that a measurement of seconds has.
    private static func time(_ seconds: Double) -> String {
        seconds < 60 ? Numbers.fixed(seconds, seconds < 10 ? 2 : 1) + " s" : Numbers.time(seconds)
    }
}

extension DiffusionPipeline {
    /// The bytes of the packed file of a student with the defaults of `pack`, for codes in radix encoding, an upper
    /// bound of the default encoding; nil for full-precision models and students with LSQ's grids.
    fileprivate func packedBytes() throws -> Int? {
        let grids = denoiser.quantizedLayers.compactMap { $0.quantizedWeight?.grid }
        guard let recipe, grids.allSatisfy(\.isBalanced) else { return nil }
        let inventory = try inventory()
        let storage = TimeFeatureStorage(cachedSteps: defaultCachedSteps, of: inventory)
        return try StorageModel.packed(.radix).storedBytes(
            recipe: inventory.defaultComponentsBits.map { recipe.quantizingComponents($0, of: inventory) } ?? recipe,
            inventory: inventory, timeFeatures: storage)
    }
}
