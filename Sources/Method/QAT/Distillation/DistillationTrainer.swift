// SPDX-License-Identifier: Apache-2.0
// Trains a student in stage I or stage II.

import Checkpoints
import Communication
import DataSets
import Optimizers
import Pipelines
import Quantization
import Recipes
import Tensors

/// A run of stage I or stage II.
public final class DistillationTrainer: Trainer {
    /// The student, whose UNet has fake-quantized weights; in stage II also a full-precision model, for comparisons.
    public let model: DiffusionPipeline
    public let loop: TrainingLoop
    public let stage: DistillationStage
    public let options: StageOptions
    /// The number of held-out samples; 0 without validation.
    public let validationSize: Int
    let objective: DistillationObjective
    private let validation: (data: any DistillationData, draws: ValidationDraws)?
    /// Whether the held-out samples are missing from the training data, and change the result.
    private let isPartOfData: Bool

    /// A run from the current weights and scales of the student.
    ///
    /// - Parameters:
    ///   - student: quantized by `DiffusionPipeline.quantize`; in stage II also a full-precision model. Its text
    ///     encoder is frozen.
    ///   - teacher: required in stage I. It is frozen, and its weights are rounded in place to `options.teacherDtype`.
    ///   - data: the training data.
    ///   - stage: decides the loss.
    ///   - options: the stage's settings.
    ///   - validationSize: samples to hold out for `validationLoss`, chosen by the seed; 0 for none.
    ///   - communicator: the processes that share the work. The result does not depend on their number.
    ///   - shardsOptimizer: as for `TrainingLoop`.
    /// - Throws: `TrainingConfigError.range` for invalid settings, `.unsuitableModel` for a model that predicts more
    ///   than the noise; `ConfigError` for an invalid scheduler config.
    public init(
        student: DiffusionPipeline, teacher: DiffusionPipeline?, data: any DistillationData,
        stage: DistillationStage,
        options: StageOptions, validationSize: Int = 0, communicator: any Communicator = SingleProcess(),
        shardsOptimizer: Bool = false
    ) throws {
        try options.validate()
        try Self.checkValidationSize(validationSize, of: data.sampleCount)
        guard stage == .one || options.teacherDtype == .float32 else {
            throw TrainingConfigError.range(
                key: "teacherDtype", value: options.teacherDtype.rawValue,
                expected: "float32: stage 2 has no teacher")
        }
        let config = student.denoiser.config
        guard config.outChannels <= config.inChannels else {
            throw TrainingConfigError.unsuitableModel(
                key: "out_channels", value: "\(config.outChannels)",
                expected: "at most in_channels, \(config.inChannels): learned variances are not supported")
        }
        if options.teacherDtype == .bfloat16 { teacher?.denoiser.store.holdWeights(as: .bfloat16) }
        teacher?.freeze()
        student.denoiser.checkpointing = options.training.checkpointing
        student.textEncoder?.store.setTrainable(false)
        model = student
        self.stage = stage
        self.options = options
        self.validationSize = validationSize
        let (schedule, seed) = (try student.noiseSchedule(), options.training.seed)
        let split = validationSize > 0 ? data.split(validation: validationSize, seed: seed) : nil
        validation = split.map {
            let draws = ValidationDraws(
                validationSize, from: options.timesteps, trainTimesteps: schedule.trainTimesteps, seed: seed)
            return ($0.validation, draws)
        }
        isPartOfData = split != nil && data.sampleCount != nil
        objective = DistillationObjective(
            teacher: teacher?.denoiser, student: student.denoiser, schedule: schedule, data: split?.training ?? data,
            stage: stage, options: options)
        let (weights, scales) = student.denoiser.prepareForDistillation()
        loop = TrainingLoop(
            options.training,
            groups: [
                ParameterGroup(
                    weights, learningRate: options.training.learningRate,
                    weightDecay: options.training.weightDecay),
                ParameterGroup(
                    scales, learningRate: options.scaleLearningRate,
                    minimum: FakeQuantizedWeight.smallestScale),
            ], communicator: communicator, shardsOptimizer: shardsOptimizer)
    }

    public func loss(of part: MicroBatch, random: inout Philox) throws -> StepLoss {
        try objective(part, random: &random)
    }

    /// The mean loss of the stage over the held-out samples, with fixed timesteps and noise and the weights that are
    /// shipped. Neither the weights nor the random numbers of the training change.
    ///
    /// - Parameters:
    ///   - limit: only the first samples; nil for all.
    ///   - shouldStop: called between batches.
    /// - Returns: nil when stopped, and in a run without validation.
    /// - Throws: what the data throws.
    public func validationLoss(
        limit: Int? = nil, shouldStop: () -> Bool = { false }
    ) throws -> ValidationLoss? {
        guard let (data, draws) = validation else { return nil }
        return try withFinalWeights { _ in
            try draws.mean(batchSize: loop.options.samplesAtOnce, limit: limit, shouldStop: shouldStop) { samples in
                var random = draws.textDropping(from: samples.lowerBound)
                let batch = try data.batch(samples, textDropping: options.textDropping, random: &random)
                return objective.loss(of: batch, timesteps: Array(draws.timesteps[samples])) {
                    draws.noise($0, from: samples.lowerBound)
                }
            }
        }
    }

    /// - Throws: `TrainingConfigError.range`.
    private static func checkValidationSize(_ size: Int, of sampleCount: Int?) throws(TrainingConfigError) {
        let largest = sampleCount.map { $0 - 1 } ?? Int(Int32.max)
        guard !(0...largest).contains(size) else { return }
        throw .range(
            key: "validationSize", value: "\(size)",
            expected: "0 to \(largest)" + (sampleCount.map { ", fewer than the \($0) samples of the data" } ?? ""))
    }

    /// Stage, settings, grids, and the number of samples that are missing from the training data.
    public struct Identity: Encodable {
        var stage: DistillationStage
        var options: StageOptions
        /// nil without held-out samples.
        var validationSize: Int?
        /// Nominal bits by layer.
        var bits: [String: Int]
        /// Levels of the layers whose grids are not balanced; nil without such layers.
        var levels: [String: Int]?
        /// Dead zones by layer; nil where all weights are rounded to the nearest code.
        var deadZones: [String: Float]?
    }

    public var identity: Identity {
        var fixed = options
        fixed.training = fixed.training.decidingResults
        let bits = model.recipe?.layers.map { ($0.rawValue, $1.rawValue) } ?? []
        let grids = model.denoiser.quantizedLayers.compactMap { layer in
            layer.quantizedWeight.map { (path: layer.path, grid: $0.grid) }
        }
        let levels = grids.filter { !$0.grid.isBalanced }.map { ($0.path, $0.grid.levels) }
        let deadZones = grids.filter { $0.grid != $0.grid.withoutDeadZone }.map { ($0.path, $0.grid.deadZone) }
        return Identity(
            stage: stage, options: fixed, validationSize: isPartOfData ? validationSize : nil,
            bits: Dictionary(uniqueKeysWithValues: bits),
            levels: levels.isEmpty ? nil : Dictionary(uniqueKeysWithValues: levels),
            deadZones: deadZones.isEmpty ? nil : Dictionary(uniqueKeysWithValues: deadZones))
    }

    /// Students have quantized layers.
    public var fileFormat: CheckpointFormat { model.recipe == nil ? .model : .student }

    /// A finished stage can be trained for more steps.
    public static var keepsFinalState: Bool { true }

    /// Writes the student, or the full-precision model, with its final weights, and the state of the run.
    ///
    /// - Parameters:
    ///   - path: the file; a file of that name is replaced when the new one is complete.
    ///   - manifest: this run.
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`.
    public func write(to path: String, manifest: RunManifest) throws {
        let isStudent = fileFormat == .student
        try withFinalState { model, state in
            if isStudent {
                try model.writeStudent(to: path, manifest: manifest, training: state)
            } else {
                try model.writeModel(to: path, manifest: manifest, training: state)
            }
        }
    }
}
