// SPDX-License-Identifier: Apache-2.0
// The settings of a sensitivity analysis, stored in its table. Tables are comparable if their settings are equal.

/// How the candidates of an analysis are measured.
public enum MeasurementMode: String, Codable, Sendable, CaseIterable {
    /// Whole sampling trajectories; their images are compared.
    case images
    /// The error of the noise prediction at random timesteps.
    case noise
    /// The error of the noise prediction, predicted from gradients of one backward sweep.
    case fisher
}

/// The settings of a sensitivity analysis: everything that must be equal in two tables to compare them.
public struct AnalysisSettings: Hashable, Codable, Sendable {
    /// How candidates are measured.
    public var measures: [MeasurementMode]
    /// The prompts, in order; empty where embeddings were given instead.
    public var prompts: [String]
    /// The file of text embeddings that replaced the prompts.
    public var embeddings: FileReference?
    /// The data set whose samples replaced images; `prompts` are then their captions.
    public var data: FileReference?
    /// The seed of the initial noise of each image.
    public var seeds: [UInt64]
    /// The sampler's name, such as `pndm`.
    public var sampler: String
    /// Sampling steps per image.
    public var steps: Int
    /// Height and width of the samples, in pixels or latents; nil: those of the config.
    public var size: Int?
    public var guidanceScale: Double
    /// Training steps of each quantized layer before it was measured.
    public var qatSteps: Int
    /// Learning rates of weights and scales in these steps; nil without steps.
    public var qatLearningRate, qatScaleLearningRate: Double?
    /// Noised samples per image in the training batch of these steps; nil without steps.
    public var qatTimestepsPerImage: Int?
    /// The training timesteps at which noise predictions were compared; empty for images alone.
    public var timesteps: [Int]

    /// Records settings.
    public init(
        measures: [MeasurementMode] = [.images], prompts: [String], embeddings: FileReference? = nil,
        data: FileReference? = nil, seeds: [UInt64], sampler: String, steps: Int, size: Int? = nil,
        guidanceScale: Double, qatSteps: Int,
        qatLearningRate: Double? = nil, qatScaleLearningRate: Double? = nil,
        qatTimestepsPerImage: Int? = nil, timesteps: [Int] = []
    ) {
        self.measures = measures
        self.prompts = prompts
        self.embeddings = embeddings
        self.data = data
        self.seeds = seeds
        self.sampler = sampler
        self.steps = steps
        self.size = size
        self.guidanceScale = guidanceScale
        self.qatSteps = qatSteps
        self.qatLearningRate = qatLearningRate
        self.qatScaleLearningRate = qatScaleLearningRate
        self.qatTimestepsPerImage = qatTimestepsPerImage
        self.timesteps = timesteps
    }

    enum CodingKeys: String, CodingKey {
        case measures, prompts, embeddings, data, seeds, sampler, steps, size, guidanceScale, qatSteps,
            qatLearningRate
        case qatScaleLearningRate, qatTimestepsPerImage, timesteps
    }

    /// Reads settings. Without `measures` and `timesteps` images were compared.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let names = try container.decodeIfPresent([String].self, forKey: .measures)
        let modes = try names?.map { name in
            guard let mode = MeasurementMode(rawValue: name) else {
                let known = MeasurementMode.allCases.map(\.rawValue).joined(separator: ", ")
                throw RecipeError.malformed(
                    location: "generation: measures", reason: "expected some of \(known), found \"\(name)\"")
            }
            return mode
        }
        self.init(
            measures: modes ?? [.images], prompts: try container.decode([String].self, forKey: .prompts),
            embeddings: try container.decodeIfPresent(FileReference.self, forKey: .embeddings),
            data: try container.decodeIfPresent(FileReference.self, forKey: .data),
            seeds: try container.decode([UInt64].self, forKey: .seeds),
            sampler: try container.decode(String.self, forKey: .sampler),
            steps: try container.decode(Int.self, forKey: .steps),
            size: try container.decodeIfPresent(Int.self, forKey: .size),
            guidanceScale: try container.decode(Double.self, forKey: .guidanceScale),
            qatSteps: try container.decode(Int.self, forKey: .qatSteps),
            qatLearningRate: try container.decodeIfPresent(Double.self, forKey: .qatLearningRate),
            qatScaleLearningRate: try container.decodeIfPresent(Double.self, forKey: .qatScaleLearningRate),
            qatTimestepsPerImage: try container.decodeIfPresent(Int.self, forKey: .qatTimestepsPerImage),
            timesteps: try container.decodeIfPresent([Int].self, forKey: .timesteps) ?? [])
    }
}
