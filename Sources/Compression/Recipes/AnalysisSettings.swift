// SPDX-License-Identifier: Apache-2.0
// How a sensitivity analysis was made, pinned in its table: two tables compare where these are equal.

/// What every candidate of an analysis is judged by.
public enum MeasurementMode: String, Codable, Sendable, CaseIterable {
    /// Whole sampling trajectories, whose images are compared.
    case images
    /// The error of the noise prediction at drawn timesteps.
    case noise
    /// The predicted error of the noise prediction, from one backward sweep.
    case fisher
}

/// How the measures of a sensitivity analysis were made: everything that has to stay the same for two tables to compare.
public struct AnalysisSettings: Hashable, Codable, Sendable {
    /// What candidates are judged by.
    public var measures: [MeasurementMode]
    /// The prompts, in order; empty where embeddings were given instead.
    public var prompts: [String]
    /// The file of text embeddings that took the prompts' place.
    public var embeddings: FileReference?
    /// The seed of the initial noise of each image.
    public var seeds: [UInt64]
    /// The sampler's name, such as `pndm`.
    public var sampler: String
    /// Sampling steps per image.
    public var steps: Int
    /// Height and width of what the model makes, in its pixels or latents; nil: its own.
    public var size: Int?
    public var guidanceScale: Double
    /// Training steps that each quantized layer was given before it was measured.
    public var qatSteps: Int
    /// Learning rates of weights and scales in these steps; nil without steps.
    public var qatLearningRate, qatScaleLearningRate: Double?
    /// Noisy samples of each image that these steps train on; nil without steps.
    public var qatTimestepsPerImage: Int?
    /// The training timesteps at which noise predictions were compared; empty where only images were.
    public var timesteps: [Int]

    /// Pins a protocol.
    public init(
        measures: [MeasurementMode] = [.images], prompts: [String], embeddings: FileReference? = nil,
        seeds: [UInt64], sampler: String, steps: Int, size: Int? = nil, guidanceScale: Double, qatSteps: Int,
        qatLearningRate: Double? = nil, qatScaleLearningRate: Double? = nil,
        qatTimestepsPerImage: Int? = nil, timesteps: [Int] = []
    ) {
        self.measures = measures
        self.prompts = prompts
        self.embeddings = embeddings
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
        case measures, prompts, embeddings, seeds, sampler, steps, size, guidanceScale, qatSteps,
            qatLearningRate
        case qatScaleLearningRate, qatTimestepsPerImage, timesteps
    }

    /// Reads a protocol; without `measures` and `timesteps`, as in tables of earlier versions, images were compared.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let names = try container.decodeIfPresent([String].self, forKey: .measures)
        let kinds = try names?.map { name in
            guard let kind = MeasurementMode(rawValue: name) else {
                let known = MeasurementMode.allCases.map(\.rawValue).joined(separator: ", ")
                throw RecipeError.malformed(
                    location: "generation: measures", reason: "expected some of \(known), found \"\(name)\"")
            }
            return kind
        }
        self.init(
            measures: kinds ?? [.images], prompts: try container.decode([String].self, forKey: .prompts),
            embeddings: try container.decodeIfPresent(FileReference.self, forKey: .embeddings),
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
