// SPDX-License-Identifier: Apache-2.0
// The config of a teacher's training: architecture, data and training options, as in `Configs/shapes.yaml`.

import BitsFusion
import Foundation

/// All settings of a training run of the teacher.
public struct TeacherTrainingConfig: Codable, Sendable {
    /// Path of diffusers' UNet config, relative to the config file.
    public var unet: String
    /// The architecture of a text encoder that is trained with the UNet; nil if `clipProxy` is given.
    public var textEncoder: CLIPTextConfig?
    /// Path of a CLIP-proxy, relative to the config file, or `shapes` for the shipped one. The model gets its text
    /// encoder, which is not trained, as Stable Diffusion has CLIP's.
    public var clipProxy: String?
    public var schedule: NoiseSchedule
    /// Relative weight of each caption family in the data.
    public var mixture: [PromptFamily: Double]
    public var textDropping: Float
    public var timesteps: TimestepDistribution
    public var weighting: LossWeighting
    public var training: TrainingOptions

    public init(
        unet: String, textEncoder: CLIPTextConfig? = nil, clipProxy: String? = nil, schedule: NoiseSchedule,
        mixture: [PromptFamily: Double],
        textDropping: Float, timesteps: TimestepDistribution, weighting: LossWeighting,
        training: TrainingOptions
    ) {
        self.unet = unet
        self.textEncoder = textEncoder
        self.clipProxy = clipProxy
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
        guard (textEncoder == nil) != (clipProxy == nil) else {
            throw TrainingConfigError.range(
                key: "textEncoder, clipProxy", value: textEncoder == nil ? "none" : "both", expected: "one of the two")
        }
        if let textEncoder { try Self.validate(textEncoder, key: "textEncoder") }
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

    /// Checks a text encoder, that of `key`, against the captions of the shapes world.
    ///
    /// - Throws: `TrainingConfigError.range`, naming the key.
    static func validate(_ textEncoder: CLIPTextConfig, key: String) throws {
        guard textEncoder.vocabSize == ShapesTokenizer.vocabularySize else {
            throw TrainingConfigError.range(
                key: "\(key).vocab_size", value: "\(textEncoder.vocabSize)",
                expected: "\(ShapesTokenizer.vocabularySize), the words of the shapes world")
        }
        guard textEncoder.maxPositionEmbeddings >= 9 else {
            throw TrainingConfigError.range(
                key: "\(key).max_position_embeddings", value: "\(textEncoder.maxPositionEmbeddings)",
                expected: "9 or more")
        }
    }
}
