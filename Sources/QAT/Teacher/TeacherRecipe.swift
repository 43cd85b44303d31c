// SPDX-License-Identifier: Apache-2.0
// The description of a teacher: architecture, data and training, as `Configs/shapes.yaml` gives it.

import Diffusion
import Foundation
import Shapes

/// Everything that decides what `bitsfusion train` makes.
public struct TeacherRecipe: Codable, Sendable {
    /// diffusers' UNet config, relative to the recipe's file.
    public var unet: String
    public var textEncoder: TextEncoderConfig
    public var schedule: NoiseSchedule
    /// Relative weight of each caption family in the data.
    public var mixture: [PromptFamily: Double]
    public var textDropping: Float
    public var timesteps: TimestepDistribution
    public var weighting: LossWeighting
    public var training: TrainingOptions

    public init(
        unet: String, textEncoder: TextEncoderConfig, schedule: NoiseSchedule,
        mixture: [PromptFamily: Double],
        textDropping: Float, timesteps: TimestepDistribution, weighting: LossWeighting,
        training: TrainingOptions
    ) {
        self.unet = unet
        self.textEncoder = textEncoder
        self.schedule = schedule
        self.mixture = mixture
        self.textDropping = textDropping
        self.timesteps = timesteps
        self.weighting = weighting
        self.training = training
    }

    /// The data mixture.
    ///
    /// - Throws: `TeacherRecipeError` for weights that are negative, not finite, or all zero.
    func familyMixture() throws -> FamilyMixture {
        let weights = PromptFamily.allCases.map { mixture[$0] ?? 0 }
        guard weights.allSatisfy({ $0.isFinite && $0 >= 0 }), weights.contains(where: { $0 > 0 }) else {
            throw TeacherRecipeError.mixture(weights)
        }
        return FamilyMixture(
            singleObject: mixture[.singleObject] ?? 0, twoObjects: mixture[.twoObjects] ?? 0,
            counting: mixture[.counting] ?? 0, colors: mixture[.colors] ?? 0,
            position: mixture[.position] ?? 0,
            colorAttribution: mixture[.colorAttribution] ?? 0)
    }

    /// - Throws: `TeacherRecipeError`, naming the key.
    public func validate() throws {
        _ = try familyMixture()
        guard (0...1).contains(textDropping) else {
            throw TeacherRecipeError.range(key: "textDropping", value: "\(textDropping)", expected: "0 to 1")
        }
        try training.validate()
        guard textEncoder.vocabSize == WordTokenizer.vocabularySize else {
            throw TeacherRecipeError.range(
                key: "textEncoder.vocab_size", value: "\(textEncoder.vocabSize)",
                expected: "\(WordTokenizer.vocabularySize), the words of the shapes world")
        }
        guard textEncoder.maxLength >= 9 else {
            throw TeacherRecipeError.range(
                key: "textEncoder.max_length", value: "\(textEncoder.maxLength)", expected: "9 or more")
        }
        try timesteps.validate()
        guard weighting.maximumWeight >= 1 else {
            throw TeacherRecipeError.range(
                key: "weighting.maximumWeight", value: "\(weighting.maximumWeight)", expected: "1 or more")
        }
    }
}

/// A training description that cannot be followed.
public enum TeacherRecipeError: Error, Equatable, Sendable, CustomStringConvertible {
    case mixture([Double])
    case range(key: String, value: String, expected: String)
    /// The UNet is not one for 32x32 pictures in this text encoder's width.
    case unsuitableUNet(key: String, value: String, expected: String)

    public var description: String {
        switch self {
        case .mixture(let weights):
            "training recipe: mixture \(weights) must be finite, non-negative and not all zero"
        case .range(let key, let value, let expected):
            "training recipe: \(key) is \(value), expected \(expected)"
        case .unsuitableUNet(let key, let value, let expected):
            "training recipe: the UNet's \(key) is \(value), expected \(expected)"
        }
    }
}

extension TrainingOptions {
    /// - Throws: `TeacherRecipeError.range`, naming the key.
    public func validate() throws {
        let positive = [
            ("steps", steps), ("batchSize", batchSize), ("saveEvery", saveEvery),
            ("microBatchSize", microBatchSize ?? 1),
        ]
        for (key, value) in positive where value < 1 {
            throw TeacherRecipeError.range(key: "training.\(key)", value: "\(value)", expected: "1 or more")
        }
        guard learningRate > 0, learningRate.isFinite else {
            throw TeacherRecipeError.range(
                key: "training.learningRate", value: "\(learningRate)", expected: "a positive number")
        }
        for (key, value) in [("beta1", beta1), ("beta2", beta2), ("averageDecay", averageDecay ?? 0)]
        where !(0..<1).contains(value) {
            throw TeacherRecipeError.range(
                key: "training.\(key)", value: "\(value)", expected: "0 to below 1")
        }
        guard momentDtype != .float16 else {
            throw TeacherRecipeError.range(
                key: "training.momentDtype", value: momentDtype.rawValue, expected: "float32 or bfloat16")
        }
        guard weightDecay >= 0, weightDecay.isFinite else {
            throw TeacherRecipeError.range(
                key: "training.weightDecay", value: "\(weightDecay)", expected: "0 or more")
        }
        if let maximumGradientNorm, !(maximumGradientNorm > 0) {
            throw TeacherRecipeError.range(
                key: "training.maximumGradientNorm", value: "\(maximumGradientNorm)",
                expected: "a positive number, or none")
        }
        guard schedule.warmupSteps >= 0 else {
            throw TeacherRecipeError.range(
                key: "training.schedule.warmupSteps", value: "\(schedule.warmupSteps)", expected: "0 or more")
        }
        guard (0...1).contains(schedule.finalFactor) else {
            throw TeacherRecipeError.range(
                key: "training.schedule.finalFactor", value: "\(schedule.finalFactor)", expected: "0 to 1")
        }
    }
}

extension TimestepDistribution {
    /// - Throws: `TeacherRecipeError.range`, naming the key.
    public func validate() throws {
        for (key, value) in [("alpha", alpha), ("beta", beta)] where !(value > 0) || !value.isFinite {
            throw TeacherRecipeError.range(
                key: "timesteps.\(key)", value: "\(value)", expected: "a positive number")
        }
    }
}
