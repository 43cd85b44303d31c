// SPDX-License-Identifier: Apache-2.0
// The config of a CLIP-proxy's training: architecture, data and training options, as in `Configs/clip-proxy.yaml`.

import BitsFusion

/// All settings of a training run of a CLIP-proxy.
public struct ClipProxyTrainingConfig: Codable, Sendable, Equatable {
    /// The architecture. Its text tower takes the ids of `ShapesTokenizer`.
    public var model: ClipProxyConfig
    /// False captions per image, >= 0, which differ from the true caption by one word or one exchange.
    public var hardNegatives: Int
    /// The largest standard deviation of the Gaussian noise that is added to images in [-1, 1]; drawn uniformly from 0
    /// on.
    public var imageNoise: Float
    /// The initial temperature, which the loss divides cosines by, > 0.
    public var initialTemperature: Float
    /// The lowest temperature that training may reach; 0.01 in CLIP. A higher one separates the cosines of true and
    /// false captions more.
    public var minimumTemperature: Float
    /// Training options. Images and all other random values of step k follow from `training.seed` and k.
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

    /// Checks all values.
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
                "none: the loss needs the complete batch")
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
