// SPDX-License-Identifier: Apache-2.0
// The settings that every training has, as `training` in the YAML files gives them.

import Networks
import Optimizers
import Tensors

/// How long and how fast to train, and what to save memory on.
public struct TrainingOptions: Codable, Hashable, Sendable {
    public var steps: Int
    public var batchSize: Int
    /// Samples computed at once: a step adds up the gradients of several parts of its batch; nil: all at once.
    public var microBatchSize: Int?
    public var learningRate: Float
    public var schedule: LearningRateSchedule
    public var weightDecay: Float
    public var beta1: Float
    public var beta2: Float
    /// Gradients are clipped to this global norm; nil: never.
    public var maximumGradientNorm: Float?
    /// Decay of the weights' moving average; nil: none is kept.
    public var averageDecay: Float?
    /// Precision of the optimizer's moments: Float32, or bfloat16 with stochastic rounding at half the memory.
    public var momentDtype: ElementType
    /// What the UNet's forward pass keeps for its backward pass; the results are the same bits in either case.
    public var checkpointing: GradientCheckpointing
    public var seed: UInt64
    /// Steps between two saves of the training state.
    public var saveEvery: Int

    public init(
        steps: Int, batchSize: Int, microBatchSize: Int? = nil, learningRate: Float,
        schedule: LearningRateSchedule = .init(),
        weightDecay: Float = 0,
        beta1: Float = 0.9, beta2: Float = 0.99, maximumGradientNorm: Float? = 1, averageDecay: Float? = nil,
        momentDtype: ElementType = .float32, checkpointing: GradientCheckpointing = .none,
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
        self.checkpointing = checkpointing
        self.seed = seed
        self.saveEvery = saveEvery
    }

    /// `momentDtype` and `checkpointing` may be left out.
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
        checkpointing =
            try values.decodeIfPresent(GradientCheckpointing.self, forKey: .checkpointing) ?? .none
        seed = try values.decode(UInt64.self, forKey: .seed)
        saveEvery = try values.decode(Int.self, forKey: .saveEvery)
    }

    /// The same with one value for each option that a run's results do not depend on: what must agree when a run is
    /// resumed.
    package var decidingResults: TrainingOptions {
        var fixed = self
        fixed.saveEvery = 1
        fixed.checkpointing = .none
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
        guard momentDtype != .float16 else {
            throw TrainingConfigError.range(
                key: "training.momentDtype", value: momentDtype.rawValue, expected: "float32 or bfloat16")
        }
        guard weightDecay >= 0, weightDecay.isFinite else {
            throw TrainingConfigError.range(
                key: "training.weightDecay", value: "\(weightDecay)", expected: "0 or more")
        }
        if let maximumGradientNorm, !(maximumGradientNorm > 0) {
            throw TrainingConfigError.range(
                key: "training.maximumGradientNorm", value: "\(maximumGradientNorm)",
                expected: "a positive number, or none")
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
