// SPDX-License-Identifier: Apache-2.0
// The input of an allocation besides the sensitivity table: budget, method and options.

import Recipes

/// The limit that a recipe must meet.
public enum BudgetLimit: Hashable, Sendable {
    /// The paper's average: bits per linear or convolution weight of the whole model, > 0. Time features and the 8-bit
    /// first and last layer count.
    case averageBits(Double)
    /// Bytes of the packed file; requires a table with an inventory.
    case storedBytes(Int)
    /// The smallest model whose images have at least this peak signal-to-noise ratio, in dB, if the squared errors of
    /// single layers add up.
    case psnr(Double)
}

/// The limit that a recipe must meet, and how time features count.
public struct BitBudget: Hashable, Sendable {
    public var limit: BudgetLimit
    /// Whether time features are cached, and for how many steps.
    public var timeFeatures: TimeFeatureStorage

    /// By default 50 steps of time features are cached, as in the paper.
    public init(_ limit: BudgetLimit, timeFeatures: TimeFeatureStorage = .paper) {
        self.limit = limit
        self.timeFeatures = timeFeatures
    }

    /// A limit of `averageBits` bits.
    public init(averageBits: Double, timeFeatures: TimeFeatureStorage = .paper) {
        self.init(.averageBits(averageBits), timeFeatures: timeFeatures)
    }
}

/// How bits are chosen.
public enum AllocationMethod: String, Codable, Sendable, CaseIterable {
    /// The paper's rule: one threshold for the sensitivity of all layers (arXiv 2406.04333, Algorithm 1, part 3).
    case threshold
    /// The smallest total quantization error within the budget, with a proof.
    case optimal
    /// As `optimal`, but a weight costs the entropy of its codes in place of log2(levels), and every layer gets a dead
    /// zone, too. Requires a table with rate-distortion curves.
    case entropy
}

/// Options of an allocation.
public struct AllocationOptions: Sendable {
    /// The exponent of the layer's size in S = M N^-eta; finite. The paper's is 0.3. For `threshold`.
    public var eta: Double
    /// M: the metric by which layers are compared; nil for the first of `noise`, `mse` and `fisher` that the table has
    /// for all layers with a free choice of bits; `mse` for a PSNR.
    public var metric: AllocationMetric?
    /// Whether the layers with the largest CLIP-score drops get up to three more bits. For `threshold`.
    public var givesClipBonus: Bool
    /// Bits that are given, not chosen; if two patterns match a layer, the later one counts.
    public var pins: [LayerPin]
    /// The most bits that are chosen.
    public var maximumBits: BitWidth
    /// The container for which stored bytes are forecast.
    public var storage: StorageModel

    /// The paper's settings; codes are stored in fixed fields.
    public init(
        eta: Double = 0.3, metric: AllocationMetric? = nil, givesClipBonus: Bool = true, pins: [LayerPin] = [],
        maximumBits: BitWidth = BitWidth(8), storage: StorageModel = .fixedFields
    ) {
        self.eta = eta
        self.metric = metric
        self.givesClipBonus = givesClipBonus
        self.pins = pins
        self.maximumBits = maximumBits
        self.storage = storage
    }
}

/// The bits of all layers whose path matches a pattern.
public struct LayerPin: Hashable, Sendable {
    /// A regular expression that matches any part of the path.
    public let pattern: String
    public let bits: BitWidth

    public init(pattern: String, bits: BitWidth) {
        (self.pattern, self.bits) = (pattern, bits)
    }
}
