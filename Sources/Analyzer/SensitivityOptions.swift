// SPDX-License-Identifier: Apache-2.0
// What a sensitivity analysis measures, and how its pictures are made.

import Diffusion
import Pipelines
import Recipes

/// Which candidates are measured, and by what pictures.
public struct SensitivityOptions: Sendable {
    /// The widths that every layer is tried at. The first and last convolution are measured at their fixed 8 bits.
    public var widths: [BitWidth]
    /// Sampler, steps and guidance. Ten DDIM steps rank layers at a fifth of the time of fifty.
    public var generation: GenerationOptions
    /// A regular expression: only layers whose path it matches somewhere are measured; nil for all.
    public var layerPattern: String?

    /// The paper's widths with few, cheap pictures: a model of 2 M parameters takes minutes.
    public init(
        widths: [BitWidth] = [BitWidth(1), BitWidth(2), BitWidth(3)],
        generation: GenerationOptions = GenerationOptions(sampler: .ddim, steps: 10),
        layerPattern: String? = nil
    ) {
        self.widths = Array(Set(widths)).sorted()
        self.generation = generation
        self.layerPattern = layerPattern
    }
}

/// One measurement to make: a layer alone at one width.
public struct SensitivityCandidate: Hashable, Sendable, Codable {
    public let path: LayerID
    public let width: BitWidth

    /// Names a candidate.
    public init(path: LayerID, width: BitWidth) {
        self.path = path
        self.width = width
    }
}

/// How far a sweep is.
public struct SensitivityProgress: Sendable {
    /// Candidates measured, those of resumed runs included.
    public let done: Int
    /// All candidates.
    public let total: Int
    /// Seconds per candidate in this run; nil before the first one.
    public let secondsPerCandidate: Double?
    /// The candidate measured last; nil at the start.
    public let latest: SensitivityCandidate?

    /// Seconds that are left at this rate.
    public var secondsLeft: Double? { secondsPerCandidate.map { $0 * Double(total - done) } }
}
