// SPDX-License-Identifier: Apache-2.0
// The config of a teacher's training: architecture, data and training options, as in `Configs/shapes.yaml`.

import BitsFusion
import Foundation

/// All settings of a training run of the teacher.
public struct TeacherTrainingConfig: Codable, Sendable {
    /// Path of diffusers' UNet config, relative to the config file.
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
    /// - Throws: `TrainingConfigError.range` for weights that are negative, not finite, or all zero.
    func familyMixture() throws -> FamilyMixture {
        guard FamilyMixture.areValid(mixture) else {
            throw TrainingConfigError.range(
                key: "mixture", value: "\(PromptFamily.allCases.map { mixture[$0] ?? 0 })",
                expected: "finite numbers >= 0 that are not all zero")
        }
        return FamilyMixture(mixture)
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
                key: "textEncoder.max_position_embeddings", value: "\(textEncoder.maxPositionEmbeddings)",
                expected: "9 or more")
        }
        try timesteps.validate()
        guard !schedule.rescalesBetasZeroSNR || schedule.predictionType == .vPrediction else {
            throw TrainingConfigError.range(
                key: "schedule.prediction_type", value: schedule.predictionType.rawValue,
                expected: "v_prediction: with rescale_betas_zero_snr the last timestep has no signal to predict from")
        }
        guard weighting.maximumWeight >= 1 else {
            throw TrainingConfigError.range(
                key: "weighting.maximumWeight", value: "\(weighting.maximumWeight)", expected: "1 or more")
        }
    }
}
