// SPDX-License-Identifier: Apache-2.0
// Trains a student in stage I or stage II.

import Checkpoints
import DataSets
import Optimizers
import Pipelines
import Quantization
import Recipes
import Tensors

/// A run of stage I or stage II.
public final class DistillationTrainer: Trainer {
    /// The student, whose UNet has fake-quantized weights.
    public let model: DiffusionPipeline
    public let loop: TrainingLoop
    public let stage: DistillationStage
    public let options: StageOptions
    private let objective: DistillationObjective

    /// A run from the current weights and scales of the student.
    ///
    /// - Parameters:
    ///   - student: quantized by `DiffusionPipeline.quantize`. Its text encoder is frozen.
    ///   - teacher: required in stage I. It is frozen, and its weights are rounded in place to `options.teacherDtype`.
    ///   - data: the training data.
    ///   - stage: decides the loss.
    ///   - options: the stage's settings.
    /// - Throws: `TrainingConfigError.range` for invalid settings, `.unsuitableModel` for a model that predicts more
    ///   than the noise; `ConfigError` for an invalid scheduler config.
    public init(
        student: DiffusionPipeline, teacher: DiffusionPipeline?, data: any DistillationData,
        stage: DistillationStage,
        options: StageOptions
    ) throws {
        try options.validate()
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
        objective = DistillationObjective(
            teacher: teacher?.denoiser, student: student.denoiser, schedule: try student.noiseSchedule(), data: data,
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
            ])
    }

    public func loss(of part: MicroBatch, random: inout Philox) throws -> StepLoss {
        try objective(part, random: &random)
    }

    /// Stage, settings and bit widths.
    public struct Identity: Encodable {
        var stage: DistillationStage
        var options: StageOptions
        /// Nominal bits by layer.
        var bits: [String: Int]
    }

    public var identity: Identity {
        var fixed = options
        fixed.training = fixed.training.decidingResults
        let bits = model.recipe?.layers.map { ($0.rawValue, $1.rawValue) } ?? []
        return Identity(stage: stage, options: fixed, bits: Dictionary(uniqueKeysWithValues: bits))
    }

    public static var fileFormat: CheckpointFormat { .student }

    /// A finished stage can be trained for more steps.
    public static var keepsFinalState: Bool { true }

    /// Writes the student with its final weights, and the state of the run.
    ///
    /// - Parameters:
    ///   - path: the file; a file of that name is replaced when the new one is complete.
    ///   - manifest: this run.
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`.
    public func write(to path: String, manifest: RunManifest) throws {
        try withFinalState { try $0.writeStudent(to: path, manifest: manifest, training: $1) }
    }
}
