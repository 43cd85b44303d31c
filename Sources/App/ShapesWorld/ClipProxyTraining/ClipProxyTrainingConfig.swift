// SPDX-License-Identifier: Apache-2.0
// The description of a CLIP-proxy: architecture, data and training, as `Configs/clip-proxy.yaml` gives it.

import BitsFusion

/// Everything that decides what a CLIP-proxy's training makes.
public struct ClipProxyTrainingConfig: Codable, Sendable, Equatable {
    /// The architecture; its text tower takes the word tokenizer's ids.
    public var model: ClipProxyConfig
    /// False captions per image, >= 0, each one word or one exchange away from the true one.
    public var hardNegatives: Int
    /// Images get Gaussian noise of a standard deviation drawn from 0 ... this, in units of the range [-1, 1].
    public var imageNoise: Float
    /// What the loss divides cosines by at first, > 0.
    public var initialTemperature: Float
    /// What training may lower the temperature to, 0.01 in CLIP: true and false captions that the loss finds far enough
    /// apart at a low temperature have closer cosines than at a high one.
    public var minimumTemperature: Float
    /// Pace. Images and all other randomness of step k follow from `training.seed` and k.
    public var training: TrainingOptions

    /// A config from its values.
    public init(
        model: ClipProxyConfig, hardNegatives: Int = 1, imageNoise: Float = 0.05,
        initialTemperature: Float = 0.07, minimumTemperature: Float = 0.01, training: TrainingOptions
    ) {
        self.model = model
        self.hardNegatives = hardNegatives
        self.imageNoise = imageNoise
        self.initialTemperature = initialTemperature
        self.minimumTemperature = minimumTemperature
        self.training = training
    }

    /// Checks what the types do not.
    ///
    /// - Throws: `TrainingConfigError.range`, naming the key.
    public func validate() throws {
        try training.validate()
        let (words, length) = (ShapesTokenizer.vocabularySize, model.textConfig.maxPositionEmbeddings)
        guard model.textConfig.vocabSize == words else {
            throw Self.range(
                "model.text_config.vocab_size", model.textConfig.vocabSize, "\(words), the words of the shapes world")
        }
        guard length >= 9 else { throw Self.range("model.text_config.max_position_embeddings", length, "9 or more") }
        guard training.batchSize >= 2 else {
            throw Self.range("training.batchSize", training.batchSize, "2 or more, to contrast")
        }
        guard training.microBatchSize ?? training.batchSize == training.batchSize else {
            throw Self.range(
                "training.microBatchSize", training.microBatchSize ?? 0,
                "none: a batch is contrasted as a whole")
        }
        guard training.checkpointing == .none else {
            throw Self.range("training.checkpointing", training.checkpointing, "none: there is no UNet")
        }
        guard hardNegatives >= 0 else { throw Self.range("hardNegatives", hardNegatives, "0 or more") }
        guard imageNoise >= 0, imageNoise.isFinite else {
            throw Self.range("imageNoise", imageNoise, "0 or more")
        }
        guard initialTemperature > 0, initialTemperature.isFinite else {
            throw Self.range("initialTemperature", initialTemperature, "a positive number")
        }
        guard minimumTemperature > 0, minimumTemperature <= initialTemperature else {
            throw Self.range("minimumTemperature", minimumTemperature, "above 0, at most initialTemperature")
        }
    }

    private static func range(_ key: String, _ value: some Any, _ expected: String) -> TrainingConfigError {
        .range(key: key, value: "\(value)", expected: expected)
    }
}
