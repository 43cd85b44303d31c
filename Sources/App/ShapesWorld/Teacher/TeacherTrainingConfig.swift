// SPDX-License-Identifier: Apache-2.0
// The description of a teacher: architecture, data and training, as `Configs/shapes.yaml` gives it.

import BitsFusion
import Foundation

/// Everything that decides what `bitsfusion train` makes.
public struct TeacherTrainingConfig: Codable, Sendable {
    /// diffusers' UNet config, relative to the config's file.
    public var unet: String
    public var textEncoder: CLIPTextConfig
    public var schedule: NoiseSchedule
    /// Relative weight of each caption family in the data.
    public var mixture: [PromptFamily: Double]
    public var textDropping: Float
    public var timesteps: TimestepDistribution
    public var weighting: LossWeighting
    public var training: TrainingOptions

    public init(
        unet: String, textEncoder: CLIPTextConfig, schedule: NoiseSchedule,
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
    /// - Throws: `TrainingConfigError` for weights that are negative, not finite, or all zero.
    func familyMixture() throws -> FamilyMixture {
        let weights = PromptFamily.allCases.map { mixture[$0] ?? 0 }
        guard weights.allSatisfy({ $0.isFinite && $0 >= 0 }), weights.contains(where: { $0 > 0 }) else {
            throw TrainingConfigError.range(
                key: "mixture", value: "\(weights)", expected: "finite numbers >= 0 that are not all zero")
        }
        return FamilyMixture(
            singleObject: mixture[.singleObject] ?? 0, twoObjects: mixture[.twoObjects] ?? 0,
            counting: mixture[.counting] ?? 0, colors: mixture[.colors] ?? 0,
            position: mixture[.position] ?? 0,
            colorAttribution: mixture[.colorAttribution] ?? 0)
    }

    /// - Throws: `TrainingConfigError`, naming the key.
    public func validate() throws {
        _ = try familyMixture()
        guard (0...1).contains(textDropping) else {
            throw TrainingConfigError.range(key: "textDropping", value: "\(textDropping)", expected: "0 to 1")
        }
        try training.validate()
        guard textEncoder.vocabSize == ShapesTokenizer.vocabularySize else {
            throw TrainingConfigError.range(
                key: "textEncoder.vocab_size", value: "\(textEncoder.vocabSize)",
                expected: "\(ShapesTokenizer.vocabularySize), the words of the shapes world")
        }
        guard textEncoder.maxPositionEmbeddings >= 9 else {
            throw TrainingConfigError.range(
                key: "textEncoder.max_position_embeddings", value: "\(textEncoder.maxPositionEmbeddings)", expected: "9 or more")
        }
        try timesteps.validate()
        guard weighting.maximumWeight >= 1 else {
            throw TrainingConfigError.range(
                key: "weighting.maximumWeight", value: "\(weighting.maximumWeight)", expected: "1 or more")
        }
    }
}
