// SPDX-License-Identifier: Apache-2.0
// The settings of both stages (BitsFusion, arXiv:2406.04333, section 4.2), which `bitsfusion distill --print-config`
// prints as YAML.

import Optimizers
import Schedulers
import Tensors

/// One of the paper's two training stages.
public enum DistillationStage: Int, Codable, Sendable, CaseIterable {
    /// CFG-aware distillation from the full-precision teacher, with feature distillation.
    case one = 1
    /// Fine-tuning on the noise-prediction loss.
    case two = 2
}

/// How the feature loss compares a block of the student with the teacher's.
public enum FeatureLoss: String, Codable, Sendable, CaseIterable {
    /// The mean squared difference, as in the paper.
    case absolute
    /// The same divided by the mean square of the teacher's features, for each sample. Blocks with large features do
    /// not outweigh the others, and λ does not depend on the scale of a model's features.
    case relative

    /// The loss of one block.
    ///
    /// - Parameters:
    ///   - student: features `[B, ...]`.
    ///   - teacher: features of the same shape, without gradients.
    /// - Returns: the loss, shape `[]`.
    func callAsFunction(student: Tensor, teacher: Tensor) -> Tensor {
        guard self == .relative else { return meanSquaredError(student, teacher) }
        let power = teacher.square().mean(axes: Array(1..<teacher.rank), keepDims: true)
        // A sample without features has an error of 0, and no division by 0.
        let factors = power.values.map { 1 / max($0, 1e-12).squareRoot() }
        let factor = Tensor(factors, shape: power.shape)
        return meanSquaredError(student * factor, teacher * factor)
    }
}

/// Settings of one stage.
public struct StageOptions: Codable, Hashable, Sendable {
    public var training: TrainingOptions
    /// Learning rate of the scales; `training.learningRate` is that of weights, norms and biases.
    public var scaleLearningRate: Float
    /// Probability p that a caption is replaced by the empty prompt, for teacher and student.
    public var textDropping: Float
    /// The distribution of the timesteps.
    public var timesteps: TimestepDistribution
    /// λ, the weight of the feature loss; stage I only.
    public var featureWeight: Float
    /// How features are compared; stage I only.
    public var featureLoss: FeatureLoss
    /// Element type of the teacher's linear and convolution weights in memory: float32, or bfloat16 with half the
    /// memory, widened at each use. Stage I only.
    public var teacherDtype: ElementType

    public init(
        training: TrainingOptions, scaleLearningRate: Float, textDropping: Float = 0.1,
        timesteps: TimestepDistribution = .paper, featureWeight: Float = 0.01,
        featureLoss: FeatureLoss = .absolute, teacherDtype: ElementType = .float32
    ) {
        self.training = training
        self.scaleLearningRate = scaleLearningRate
        self.textDropping = textDropping
        self.timesteps = timesteps
        self.featureWeight = featureWeight
        self.featureLoss = featureLoss
        self.teacherDtype = teacherDtype
    }

    /// `featureLoss` and `teacherDtype` are optional.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        training = try values.decode(TrainingOptions.self, forKey: .training)
        scaleLearningRate = try values.decode(Float.self, forKey: .scaleLearningRate)
        textDropping = try values.decode(Float.self, forKey: .textDropping)
        timesteps = try values.decode(TimestepDistribution.self, forKey: .timesteps)
        featureWeight = try values.decode(Float.self, forKey: .featureWeight)
        featureLoss = try values.decodeIfPresent(FeatureLoss.self, forKey: .featureLoss) ?? .absolute
        teacherDtype = try values.decodeIfPresent(ElementType.self, forKey: .teacherDtype) ?? .float32
    }

    /// - Throws: `TrainingConfigError.range`, naming the key.
    public func validate() throws {
        try training.validate()
        for (key, value) in [("textDropping", textDropping)] where !(0...1).contains(value) {
            throw TrainingConfigError.range(key: key, value: "\(value)", expected: "0 to 1")
        }
        guard scaleLearningRate >= 0, scaleLearningRate.isFinite else {
            throw TrainingConfigError.range(
                key: "scaleLearningRate", value: "\(scaleLearningRate)", expected: "0 or more")
        }
        guard featureWeight >= 0, featureWeight.isFinite else {
            throw TrainingConfigError.range(
                key: "featureWeight", value: "\(featureWeight)", expected: "0 or more")
        }
        guard teacherDtype != .float16 else {
            throw TrainingConfigError.range(
                key: "teacherDtype", value: teacherDtype.rawValue, expected: "float32 or bfloat16")
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
    /// The paper's settings for Stable Diffusion v1.5, which were used on 8 and 32 A100 GPUs.
    ///
    /// A step adds up the gradients of one latent at a time, so that the batch need not fit in memory. Moments and
    /// teacher are stored in bfloat16, which saves 5 of 18 GB.
    public static let paper = DistillationOptions(
        stage1: StageOptions(
            training: TrainingOptions(
                steps: 20_000, batchSize: 256, microBatchSize: 1, learningRate: 1e-5,
                schedule: LearningRateSchedule(warmupSteps: 0, decay: .constant, finalFactor: 1),
                beta2: 0.999, momentDtype: .bfloat16,
                saveEvery: 100),
            scaleLearningRate: 1e-5, teacherDtype: .bfloat16),
        stage2: StageOptions(
            training: TrainingOptions(
                steps: 50_000, batchSize: 1024, microBatchSize: 1, learningRate: 1e-5,
                schedule: LearningRateSchedule(warmupSteps: 0, decay: .constant, finalFactor: 1),
                beta2: 0.999, momentDtype: .bfloat16,
                saveEvery: 100),
            scaleLearningRate: 1e-5))
}
