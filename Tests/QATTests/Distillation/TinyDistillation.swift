// SPDX-License-Identifier: Apache-2.0
// A distillation run that takes seconds: a tiny teacher, its student and stored latents.

import Communication
import DataSets
import Layers
import Networks
import Optimizers
import Pipelines
import Quantization
import Tensors
import TestKit

@testable import QAT

/// The parts of a tiny distillation run, equal on each call.
enum TinyDistillation {
    static func teacher() throws -> DiffusionPipeline { try TinyModel.pipeline(seed: 1) }

    /// The teacher with quantized weights.
    static func student(_ bits: Int = 2) throws -> DiffusionPipeline {
        let student = try TinyModel.pipeline(seed: 1)
        try student.denoiser.quantize(
            recipe: TinyModel.recipe(bits), initialization: .paper)
        return student
    }

    /// 24 smooth latents with random embeddings of 5 tokens.
    static func data() -> StoredDistillationData {
        var random = Philox(seed: 77)
        return StoredDistillationData(
            latents: random.normal([24, 3, 4, 4]).upsampledNearest2x(),
            encoderHiddenStates: random.normal([24, 5, TinyModel.crossAttentionDim]),
            emptyHiddenStates: random.normal([1, 5, TinyModel.crossAttentionDim]))
    }

    static func options(
        steps: Int = 6, learningRate: Float = 2e-3, scaleLearningRate: Float = 1e-3,
        averageDecay: Float? = nil,
        featureWeight: Float = 0.01, featureLoss: FeatureLoss = .absolute
    ) -> StageOptions {
        StageOptions(
            training: TrainingOptions(
                steps: steps, batchSize: 4, learningRate: learningRate,
                schedule: LearningRateSchedule(warmupSteps: 0, decay: .constant, finalFactor: 1),
                weightDecay: 0.01, averageDecay: averageDecay, seed: 11),
            scaleLearningRate: scaleLearningRate, featureWeight: featureWeight, featureLoss: featureLoss)
    }

    static func trainer(
        _ stage: DistillationStage, _ options: StageOptions = options(), student: DiffusionPipeline? = nil,
        teacher: DiffusionPipeline? = nil, communicator: any Communicator = SingleProcess(),
        shardsOptimizer: Bool = false
    ) throws -> DistillationTrainer {
        try DistillationTrainer(
            student: student ?? Self.student(),
            teacher: stage == .one ? teacher ?? Self.teacher() : nil, data: data(), stage: stage,
            options: options, communicator: communicator, shardsOptimizer: shardsOptimizer)
    }

    /// Runs a trainer to its end, or until `stop` steps are done.
    static func run(_ trainer: DistillationTrainer, until stop: Int = .max) throws {
        try trainer.run(shouldStop: { trainer.loop.step >= stop })
    }

    // MARK: Other architectures

    /// A run of a model of `config` with as many input channels and conditions as it takes.
    static func trainer(
        _ stage: DistillationStage, of config: UNet2DConditionConfig, _ options: StageOptions = options()
    ) throws -> DistillationTrainer {
        let student = try TinyModel.pipeline(config)
        try student.denoiser.quantize(recipe: TinyModel.recipe(2, of: config), initialization: .paper)
        return try DistillationTrainer(
            student: student, teacher: stage == .one ? TinyModel.pipeline(config) : nil, data: data(for: config),
            stage: stage, options: options)
    }

    /// 24 samples for a model of `config`.
    static func data(for config: UNet2DConditionConfig) -> StoredDistillationData {
        var random = Philox(seed: 78)
        let added = config.addedConditionsType.map { _ in
            StoredAddedConditions(
                textEmbeds: random.normal([24, TinyModel.textEmbedsDim]),
                emptyTextEmbeds: random.normal([1, TinyModel.textEmbedsDim]), timeIDs: random.uniform([24, 6]) * 1024)
        }
        return StoredDistillationData(
            latents: random.normal([24, config.inChannels, 8, 8]),
            encoderHiddenStates: random.normal([24, 5, TinyModel.crossAttentionDim]),
            emptyHiddenStates: random.normal([1, 5, TinyModel.crossAttentionDim]), addedConditions: added)
    }
}
