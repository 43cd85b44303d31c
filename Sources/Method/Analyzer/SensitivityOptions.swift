// SPDX-License-Identifier: Apache-2.0
// Settings, candidates and progress of a sensitivity analysis.

import Networks
import Pipelines
import Recipes
import Schedulers

/// Settings of a sensitivity analysis.
public struct SensitivityOptions: Sendable {
    /// The nominal bits that every searched layer is measured at, ascending. The first and last layer are measured at
    /// their fixed 8 bits.
    public let bits: [BitWidth]
    /// The measurements of each candidate.
    public var measures: Set<MeasurementMode>
    /// Sampler, steps and guidance.
    public var generation: GenerationOptions
    /// Noisy samples per image on which predictions are compared, for `noise` and `fisher`.
    public var timestepsPerImage: Int
    /// Fine-tuning of each candidate before it is measured.
    public var tuning: LayerTuningOptions
    /// A regular expression: only layers with a match in their path are measured; nil for all.
    public var layerPattern: String?
    /// The part of these layers that this run measures; nil for all.
    public var shard: SensitivityShard?
    /// Memory for activations that several candidates share, in bytes.
    public var memoryLimit: Int
    /// What passes with gradients keep, for fine-tuning and `fisher`; changes memory and time, not results.
    public var checkpointing: GradientCheckpointing

    /// The paper's bit widths, with images of eight DDIM steps: enough to rank layers, and the 350 candidates of a
    /// small model take minutes.
    public init(
        bits: [BitWidth] = [BitWidth(1), BitWidth(2), BitWidth(3)],
        measures: Set<MeasurementMode> = [.images],
        generation: GenerationOptions = GenerationOptions(sampler: .ddim, steps: 8),
        timestepsPerImage: Int = 4, tuning: LayerTuningOptions = LayerTuningOptions(),
        layerPattern: String? = nil, shard: SensitivityShard? = nil, memoryLimit: Int = 2 << 30,
        checkpointing: GradientCheckpointing = .none
    ) {
        precondition(timestepsPerImage > 0, "SensitivityOptions: no timesteps")
        self.bits = Array(Set(bits)).sorted()
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

/// What happens to the measurements of an interrupted analysis.
public enum UnfinishedAnalysis: Sendable {
    /// They are kept, and the run ends with an error.
    case refused
    /// The run continues with the candidates that are left.
    case resumed
    /// They are deleted.
    case overwritten
}

/// One measurement: a layer quantized alone.
public struct SensitivityCandidate: Hashable, Sendable, Codable {
    public let path: LayerID
    /// The nominal bits.
    public let bits: BitWidth

    public init(path: LayerID, bits: BitWidth) {
        self.path = path
        self.bits = bits
    }
}

/// The progress of a sweep.
public struct SensitivityProgress: Sendable {
    /// Measured candidates, including those of the run that is resumed.
    public let done: Int
    /// All candidates.
    public let total: Int
    /// Seconds per candidate in this run; nil before the first one.
    public let secondsPerCandidate: Double?
    /// The candidate measured last; nil at the start.
    public let latest: SensitivityCandidate?

    /// The remaining seconds at this rate.
    public var secondsLeft: Double? { secondsPerCandidate.map { $0 * Double(total - done) } }
}

/// Part `index` of `count` of an analysis, counted from 1 and written 2/8, for one of several machines or processes:
/// every `count`-th layer, so that all parts take about the same time.
public struct SensitivityShard: Hashable, Sendable, Codable, CustomStringConvertible {
    public let index: Int
    public let count: Int

    /// - Returns: nil where `index` is not in 1 ... `count`.
    public init?(index: Int, count: Int) {
        guard count > 0, (1...count).contains(index) else { return nil }
        (self.index, self.count) = (index, count)
    }

    /// Reads `2/8`.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let index = parts[0], let count = parts[1] else { return nil }
        self.init(index: index, count: count)
    }

    public var description: String { "\(index)/\(count)" }

    /// Whether the layer at index `position` in the order of the analysis belongs to this part.
    func contains(_ position: Int) -> Bool { position % count == index - 1 }
}
