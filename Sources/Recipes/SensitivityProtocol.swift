// SPDX-License-Identifier: Apache-2.0
// How a sensitivity analysis was made, pinned in its table: two tables compare where these are equal.

/// What every candidate of an analysis is judged by.
public enum SensitivityMeasureKind: String, Codable, Sendable, CaseIterable {
    /// Whole sampling trajectories, whose pictures are compared.
    case images
    /// The error of the noise prediction at drawn timesteps.
    case noise
    /// The predicted error of the noise prediction, from one backward sweep.
    case fisher
}

/// How the measures of a sensitivity analysis were made: everything that has to stay the same for two tables to compare.
public struct SensitivityProtocol: Hashable, Codable, Sendable {
    /// What candidates are judged by.
    public var measure: SensitivityMeasureKind
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
    public var guidanceScale: Double
    /// Training steps that each quantized layer was given before it was measured.
    public var qatSteps: Int
    /// The training timesteps at which noise predictions were compared; empty for `images`.
    public var timesteps: [Int]

    /// Pins a protocol.
    public init(
        measure: SensitivityMeasureKind = .images, prompts: [String], embeddings: FileReference? = nil,
        seeds: [UInt64], sampler: String, steps: Int, guidanceScale: Double, qatSteps: Int,
        timesteps: [Int] = []
    ) {
        self.measure = measure
        self.prompts = prompts
        self.embeddings = embeddings
        self.seeds = seeds
        self.sampler = sampler
        self.steps = steps
        self.guidanceScale = guidanceScale
        self.qatSteps = qatSteps
        self.timesteps = timesteps
    }

    enum CodingKeys: String, CodingKey {
        case measure, prompts, embeddings, seeds, sampler, steps, guidanceScale, qatSteps, timesteps
    }

    /// Reads a protocol; without `measure` and `timesteps`, as in tables of earlier versions, pictures were compared.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let measure = try container.decodeIfPresent(String.self, forKey: .measure)
        guard let kind = measure.map(SensitivityMeasureKind.init(rawValue:)) ?? .images else {
            let known = SensitivityMeasureKind.allCases.map(\.rawValue).joined(separator: ", ")
            throw RecipeError.malformed(
                location: "generation: measure",
                reason: "expected one of \(known), found \"\(measure ?? "")\"")
        }
        self.init(
            measure: kind, prompts: try container.decode([String].self, forKey: .prompts),
            embeddings: try container.decodeIfPresent(FileReference.self, forKey: .embeddings),
            seeds: try container.decode([UInt64].self, forKey: .seeds),
            sampler: try container.decode(String.self, forKey: .sampler),
            steps: try container.decode(Int.self, forKey: .steps),
            guidanceScale: try container.decode(Double.self, forKey: .guidanceScale),
            qatSteps: try container.decode(Int.self, forKey: .qatSteps),
            timesteps: try container.decodeIfPresent([Int].self, forKey: .timesteps) ?? [])
    }
}
