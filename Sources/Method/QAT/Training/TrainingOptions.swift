// SPDX-License-Identifier: Apache-2.0
// The options that all training runs share: `training` in YAML configs.

import Files
import Networks
import Optimizers
import Schedulers
import Tensors

/// Steps, batches, optimizer and memory options of a training run.
public struct TrainingOptions: Codable, Hashable, Sendable {
    public var steps: Int
    public var batchSize: Int
    /// Samples computed at once. A step accumulates the gradients of the parts of its batch. nil: the complete batch.
    public var microBatchSize: Int?
    public var learningRate: Float
    public var schedule: LearningRateSchedule
    public var weightDecay: Float
    public var beta1: Float
    public var beta2: Float
    /// Gradients are clipped to this global norm; nil: no clipping.
    public var maximumGradientNorm: Float?
    /// Decay of the weights' exponential moving average; nil: no average.
    public var averageDecay: Float?
    /// Element type of the optimizer's moments: Float32, or bfloat16 with stochastic rounding and half the memory.
    public var momentDtype: ElementType
    /// The type to which linear layers round the operands of their matrix products, Float32 or bfloat16; nil: Float32.
    /// Sums, results, weights, gradients and moments are Float32 in any case.
    public var precision: ElementType?
    /// Gradient checkpointing of the UNet. Results are bit-equal with and without it.
    public var checkpointing: GradientCheckpointing
    public var seed: UInt64
    /// Steps between two saves of the training state.
    public var saveEvery: Int

    public init(
        steps: Int, batchSize: Int, microBatchSize: Int? = nil, learningRate: Float,
        schedule: LearningRateSchedule = .init(),
        weightDecay: Float = 0,
        beta1: Float = 0.9, beta2: Float = 0.99, maximumGradientNorm: Float? = 1, averageDecay: Float? = nil,
        momentDtype: ElementType = .float32, precision: ElementType? = nil,
        checkpointing: GradientCheckpointing = .none,
        seed: UInt64 = 0, saveEvery: Int = 500
    ) {
        self.steps = steps
        self.batchSize = batchSize
        self.microBatchSize = microBatchSize
        self.learningRate = learningRate
        self.schedule = schedule
        self.weightDecay = weightDecay
        self.beta1 = beta1
        self.beta2 = beta2
        self.maximumGradientNorm = maximumGradientNorm
        self.averageDecay = averageDecay
        self.momentDtype = momentDtype
        self.precision = precision
        self.checkpointing = checkpointing
        self.seed = seed
        self.saveEvery = saveEvery
    }

    /// `momentDtype` and `checkpointing` are optional, and so is what can be nil.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        steps = try values.decode(Int.self, forKey: .steps)
        batchSize = try values.decode(Int.self, forKey: .batchSize)
        microBatchSize = try values.decodeIfPresent(Int.self, forKey: .microBatchSize)
        learningRate = try values.decode(Float.self, forKey: .learningRate)
        schedule = try values.decode(LearningRateSchedule.self, forKey: .schedule)
        weightDecay = try values.decode(Float.self, forKey: .weightDecay)
        beta1 = try values.decode(Float.self, forKey: .beta1)
        beta2 = try values.decode(Float.self, forKey: .beta2)
        maximumGradientNorm = try values.decodeIfPresent(Float.self, forKey: .maximumGradientNorm)
        averageDecay = try values.decodeIfPresent(Float.self, forKey: .averageDecay)
        momentDtype = try values.decodeIfPresent(ElementType.self, forKey: .momentDtype) ?? .float32
        precision = try values.decodeIfPresent(ElementType.self, forKey: .precision)
        checkpointing =
            try values.decodeIfPresent(GradientCheckpointing.self, forKey: .checkpointing) ?? .none
        seed = try values.decode(UInt64.self, forKey: .seed)
        saveEvery = try values.decode(Int.self, forKey: .saveEvery)
    }

    /// The number of samples computed at once, at most a batch.
    package var samplesAtOnce: Int { min(microBatchSize ?? batchSize, batchSize) }

    /// These options with fixed values for those that do not affect the result; must be equal when a run is resumed.
    package var decidingResults: TrainingOptions {
        var fixed = self
        fixed.saveEvery = 1
        fixed.checkpointing = .none
        if fixed.precision == .float32 { fixed.precision = nil }
        return fixed
    }
}

extension TrainingOptions {
    /// - Throws: `TrainingConfigError.range`, naming the key.
    public func validate() throws {
        let positive = [
            ("steps", steps), ("batchSize", batchSize), ("saveEvery", saveEvery),
            ("microBatchSize", microBatchSize ?? 1),
        ]
        for (key, value) in positive where value < 1 {
            throw TrainingConfigError.range(key: "training.\(key)", value: "\(value)", expected: "1 or more")
        }
        guard learningRate > 0, learningRate.isFinite else {
            throw TrainingConfigError.range(
                key: "training.learningRate", value: "\(learningRate)", expected: "a positive number")
        }
        for (key, value) in [("beta1", beta1), ("beta2", beta2), ("averageDecay", averageDecay ?? 0)]
        where !(0..<1).contains(value) {
            throw TrainingConfigError.range(
                key: "training.\(key)", value: "\(value)", expected: "0 to below 1")
        }
        for (key, type) in [("momentDtype", momentDtype), ("precision", precision ?? .float32)]
        where type == .float16 {
            throw TrainingConfigError.range(
                key: "training.\(key)", value: type.rawValue, expected: "float32 or bfloat16")
        }
        guard weightDecay >= 0, weightDecay.isFinite else {
            throw TrainingConfigError.range(
                key: "training.weightDecay", value: "\(weightDecay)", expected: "0 or more")
        }
        if let maximumGradientNorm, !(maximumGradientNorm > 0) {
            throw TrainingConfigError.range(
                key: "training.maximumGradientNorm", value: "\(maximumGradientNorm)",
                expected: "a positive number, or no value")
        }
        guard schedule.warmupSteps >= 0 else {
            throw TrainingConfigError.range(
                key: "training.schedule.warmupSteps", value: "\(schedule.warmupSteps)", expected: "0 or more")
        }
        guard (0...1).contains(schedule.finalFactor) else {
            throw TrainingConfigError.range(
                key: "training.schedule.finalFactor", value: "\(schedule.finalFactor)", expected: "0 to 1")
        }
    }
}

/// A training configuration that is not valid.
public enum TrainingConfigError: CategorizedError, Equatable {
    /// The value of `key` is outside its range.
    case range(key: String, value: String, expected: String)
    /// The UNet's config does not match the training data.
    case unsuitableModel(key: String, value: String, expected: String)

    public var category: ErrorCategory { .badData }

    public var description: String {
        switch self {
        case .range(let key, let value, let expected):
            "training config: \(key): expected \(expected), found \(value)"
        case .unsuitableModel(let key, let value, let expected):
            "training config: \(key) of the UNet: expected \(expected), found \(value)"
        }
    }
}

extension TimestepDistribution {
    /// - Throws: `TrainingConfigError.range`, naming the key.
    public func validate() throws(TrainingConfigError) {
        guard let (name, value) = invalidParameter else { return }
        throw .range(key: "timesteps.\(name)", value: "\(value)", expected: "a positive number")
    }
}
