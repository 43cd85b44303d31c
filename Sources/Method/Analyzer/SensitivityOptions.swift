// SPDX-License-Identifier: Apache-2.0
// What a sensitivity analysis measures, and on what.

import Networks
import Pipelines
import Recipes
import Schedulers

/// Which candidates are measured, by what, and on which images.
public struct SensitivityOptions: Sendable {
    /// The widths that every layer is tried at. The first and last convolution are measured at their fixed 8 bits.
    public let widths: [BitWidth]
    /// What is measured of each candidate.
    public var measures: Set<MeasurementMode>
    /// Sampler, steps and guidance.
    public var generation: GenerationOptions
    /// Noisy samples of each image that predictions are compared on, for `noise` and `fisher`.
    public var timestepsPerImage: Int
    /// Fine-tuning of each candidate before it is measured.
    public var tuning: LayerTuningOptions
    /// A regular expression: only layers whose path it matches somewhere are measured; nil for all.
    public var layerPattern: String?
    /// The part of these layers that is measured here; nil for all.
    public var shard: SensitivityShard?
    /// Bytes that activations before the layer at hand may take while they wait to be used again.
    public var memoryLimit: Int
    /// What passes with gradients keep, for fine-tuning and scores; changes memory and time, not the result.
    public var checkpointing: GradientCheckpointing

    /// The paper's widths, with images that are cheap enough for the 350 candidates of a small model to take minutes:
    /// eight DDIM steps tell layers apart, and how finished an image looks does not matter here.
    public init(
        widths: [BitWidth] = [BitWidth(1), BitWidth(2), BitWidth(3)],
        measures: Set<MeasurementMode> = [.images],
        generation: GenerationOptions = GenerationOptions(sampler: .ddim, steps: 8),
        timestepsPerImage: Int = 4, tuning: LayerTuningOptions = LayerTuningOptions(),
        layerPattern: String? = nil, shard: SensitivityShard? = nil, memoryLimit: Int = 2 << 30,
        checkpointing: GradientCheckpointing = .none
    ) {
        precondition(timestepsPerImage > 0, "SensitivityOptions: no timesteps")
        self.widths = Array(Set(widths)).sorted()
        self.measures = measures
        self.generation = generation
        self.timestepsPerImage = timestepsPerImage
        self.tuning = tuning
        self.layerPattern = layerPattern
        self.shard = shard
        self.memoryLimit = memoryLimit
        self.checkpointing = checkpointing
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
