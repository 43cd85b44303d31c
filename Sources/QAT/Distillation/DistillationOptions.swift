// SPDX-License-Identifier: Apache-2.0
// The two stages' settings (BitsFusion, arXiv:2406.04333, section 4.2), as `Configs/distill-*.yaml` gives them.

/// One of the paper's two training stages.
public enum DistillationStage: Int, Codable, Sendable, CaseIterable {
    /// CFG-aware distillation from the full-precision teacher, with feature distillation.
    case one = 1
    /// Fine-tuning on the noise itself.
    case two = 2
}

/// Settings of one stage.
public struct StageOptions: Codable, Hashable, Sendable {
    public var training: TrainingOptions
    /// Learning rate of the scales; `training.learningRate` is that of weights, norms and biases.
    public var scaleLearningRate: Float
    /// Probability p of replacing the caption by the empty prompt, for teacher and student alike.
    public var textDropping: Float
    /// Where timesteps are drawn from.
    public var timesteps: TimestepDistribution
    /// λ, the weight of the feature loss; stage I only.
    public var featureWeight: Float

    public init(
        training: TrainingOptions, scaleLearningRate: Float, textDropping: Float = 0.1,
        timesteps: TimestepDistribution = .paper, featureWeight: Float = 0.01
    ) {
        self.training = training
        self.scaleLearningRate = scaleLearningRate
        self.textDropping = textDropping
        self.timesteps = timesteps
        self.featureWeight = featureWeight
    }

    /// - Throws: `TeacherRecipeError.range`, naming the key.
    public func validate() throws {
        try training.validate()
        for (key, value) in [("textDropping", textDropping)] where !(0...1).contains(value) {
            throw TeacherRecipeError.range(key: key, value: "\(value)", expected: "0 to 1")
        }
        guard scaleLearningRate >= 0, scaleLearningRate.isFinite else {
            throw TeacherRecipeError.range(
                key: "scaleLearningRate", value: "\(scaleLearningRate)", expected: "0 or more")
        }
        guard featureWeight >= 0, featureWeight.isFinite else {
            throw TeacherRecipeError.range(
                key: "featureWeight", value: "\(featureWeight)", expected: "0 or more")
        }
        try timesteps.validate()
    }
}

/// Settings of both stages.
public struct DistillationOptions: Codable, Hashable, Sendable {
    public var stage1: StageOptions
    public var stage2: StageOptions

    public init(stage1: StageOptions, stage2: StageOptions) {
        self.stage1 = stage1
        self.stage2 = stage2
    }

    public subscript(stage: DistillationStage) -> StageOptions {
        get { stage == .one ? stage1 : stage2 }
        set { if stage == .one { stage1 = newValue } else { stage2 = newValue } }
    }
}

extension DistillationOptions {
    /// For the shapes world: minutes on two cores. `Configs/distill-shapes.yaml` says the same.
    public static let shapes = DistillationOptions(
        stage1: StageOptions(
            training: TrainingOptions(steps: 500, batchSize: 16, learningRate: 5e-4, saveEvery: 100),
            scaleLearningRate: 1e-4),
        stage2: StageOptions(
            training: TrainingOptions(
                steps: 300, batchSize: 16, learningRate: 1e-4, averageDecay: 0.99, saveEvery: 100),
            scaleLearningRate: 2e-5))

    /// The paper's numbers, for Stable Diffusion v1.5. `Configs/distill-sd15.yaml` says the same.
    public static let paper = DistillationOptions(
        stage1: StageOptions(
            training: TrainingOptions(
                steps: 20_000, batchSize: 256, microBatchSize: 1, learningRate: 1e-5,
                schedule: LearningRateSchedule(warmupSteps: 0, decay: .constant, finalFactor: 1),
                beta2: 0.999,
                saveEvery: 100),
            scaleLearningRate: 1e-5),
        stage2: StageOptions(
            training: TrainingOptions(
                steps: 50_000, batchSize: 1024, microBatchSize: 1, learningRate: 1e-5,
                schedule: LearningRateSchedule(warmupSteps: 0, decay: .constant, finalFactor: 1),
                beta2: 0.999,
                saveEvery: 100),
            scaleLearningRate: 1e-5))
}
