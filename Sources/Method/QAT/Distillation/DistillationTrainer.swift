// SPDX-License-Identifier: Apache-2.0
// One stage of training on one student.

import DataSets
import Optimizers
import Pipelines
import Quantization
import Tensors

/// A run of stage I or stage II.
public final class DistillationTrainer {
    /// The student: its UNet has fake-quantized weights.
    public let student: DiffusionPipeline
    public let loop: TrainingLoop
    public let stage: DistillationStage
    public let options: StageOptions
    private let objective: DistillationObjective

    /// A run from the student's present weights and scales.
    ///
    /// - Parameters:
    ///   - student: quantized by `StudentModel.quantize`; its text encoder is frozen here.
    ///   - teacher: needed in stage I, frozen here; its weights are rounded in place to `options.teacherDtype`.
    ///   - data: what is trained on.
    ///   - stage: which losses.
    ///   - options: the stage's settings.
    /// - Throws: `TrainingConfigError` for impossible settings, `ConfigError` for the model's scheduler.
    public init(
        student: DiffusionPipeline, teacher: DiffusionPipeline?, data: any DistillationData,
        stage: DistillationStage,
        options: StageOptions
    ) throws {
        try options.validate()
        guard stage == .one || options.teacherDtype == .float32 else {
            throw TrainingConfigError.range(
                key: "teacherDtype", value: options.teacherDtype.rawValue,
                expected: "none: stage 2 has no teacher")
        }
        if options.teacherDtype == .bfloat16 { teacher?.unet.store.holdWeights(as: .bfloat16) }
        teacher?.freeze()
        student.unet.checkpointing = options.training.checkpointing
        student.textEncoder?.store.setTrainable(false)
        self.student = student
        self.stage = stage
        self.options = options
        objective = DistillationObjective(
            teacher: teacher?.unet, student: student.unet, schedule: try student.noiseSchedule(), data: data,
            stage: stage, options: options)
        let (weights, scales) = StudentModel.trainableParameters(student.unet)
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

    /// Runs the steps that are left; see `TrainingLoop.run`.
    @discardableResult
    public func run(
        progress: (Int, Int, LossRecord) -> Void, save: () throws -> Void, shouldStop: () -> Bool
    ) throws -> Bool {
        try loop.run(
            objective: { part, random in try objective(part, random: &random) }, progress: progress,
            save: save,
            shouldStop: shouldStop)
    }

    /// Runs `body` with the weights that are handed on: their moving average where one is kept.
    public func withFinalWeights<R>(_ body: (DiffusionPipeline) throws -> R) rethrows -> R {
        guard let average = loop.average else { return try body(student) }
        return try average.withAverages { try body(student) }
    }
}
