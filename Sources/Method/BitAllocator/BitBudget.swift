// SPDX-License-Identifier: Apache-2.0
// What a recipe may cost, and what the rule that spends it is told.

import Recipes

/// What limits a recipe.
public enum BudgetLimit: Hashable, Sendable {
    /// The paper's average: bits per linear or convolution weight of the whole model, > 0. Time features and the 8-bit first
    /// and last layer are paid out of it.
    case averageBits(Double)
    /// The payload of the packed file, in bytes; needs a table with an inventory.
    case storedBytes(Int)
    /// No limit of size: the smallest model whose images keep this peak signal-to-noise ratio, in dB, if squared errors
    /// of single layers add up.
    case psnr(Double)
}

/// What a recipe may cost.
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

/// What the rule is told beside the budget.
public struct AllocationOptions: Sendable {
    /// The exponent of the layer's size in S = M N^-eta; finite. The paper's is 0.3. For `threshold`.
    public var eta: Double
    /// M: the measure that layers are compared by; nil for the first of `noise`, `mse` and `fisher` that the table has
    /// for all layers whose width is free; `mse` for a PSNR.
    public var metric: AllocationMetric?
    /// Whether the layers with the largest CLIP-score drops get up to three more bits. For `threshold`.
    public var givesClipBonus: Bool
    /// Widths that are given, not chosen; where two patterns match a layer, the later one counts.
    public var pins: [LayerPin]
    /// The widest width that is chosen.
    public var maximumWidth: BitWidth
    /// The container that the recipe's stored bytes are forecast for.
    public var storage: StorageModel

    /// The paper's settings, stored as fixed fields.
    public init(
        eta: Double = 0.3, metric: AllocationMetric? = nil, givesClipBonus: Bool = true, pins: [LayerPin] = [],
        maximumWidth: BitWidth = BitWidth(8), storage: StorageModel = .fixedFields
    ) {
        self.eta = eta
        self.metric = metric
        self.givesClipBonus = givesClipBonus
        self.pins = pins
        self.maximumWidth = maximumWidth
        self.storage = storage
    }
}

/// A width for all layers whose path matches a pattern.
public struct LayerPin: Hashable, Sendable {
    /// A regular expression, found somewhere in the path.
    public let pattern: String
    public let width: BitWidth

    public init(pattern: String, width: BitWidth) {
        (self.pattern, self.width) = (pattern, width)
    }
}
