// SPDX-License-Identifier: Apache-2.0
// What a sensitivity analysis measures, and how its pictures are made.

import Diffusion
import Pipelines
import Recipes

/// Which candidates are measured, and by what pictures.
public struct SensitivityOptions: Sendable {
    /// The widths that every layer is tried at. The first and last convolution are measured at their fixed 8 bits.
    public var widths: [BitWidth]
    /// Sampler, steps and guidance.
    public var generation: GenerationOptions
    /// A regular expression: only layers whose path it matches somewhere are measured; nil for all.
    public var layerPattern: String?

    /// The paper's widths, with pictures that are cheap enough for the 350 candidates of a small model to take minutes:
    /// eight DDIM steps tell layers apart, and how finished a picture looks does not matter here.
    public init(
        widths: [BitWidth] = [BitWidth(1), BitWidth(2), BitWidth(3)],
        generation: GenerationOptions = GenerationOptions(sampler: .ddim, steps: 8),
        layerPattern: String? = nil
    ) {
        self.widths = Array(Set(widths)).sorted()
        self.generation = generation
        self.layerPattern = layerPattern
    }
}

/// What becomes of measurements that an interrupted analysis left.
public enum UnfinishedAnalysis: Sendable {
    /// They are in the way: an error, so that hours of work are never lost unasked.
    case refused
    /// The analysis goes on from there.
    case resumed
    /// They are thrown away.
    case overwritten
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
