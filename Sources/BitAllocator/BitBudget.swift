// SPDX-License-Identifier: Apache-2.0
// What a recipe may cost, and what the rule that spends it is told.

import Recipes

/// The average bits that a recipe may reach.
public struct BitBudget: Hashable, Sendable {
    /// The limit of METHOD's average: bits per linear or convolution weight of the whole model, > 0. Time features and
    /// the 8-bit first and last layer are paid out of it.
    public var averageBits: Double
    /// Whether time features are cached, and for how many steps.
    public var timeFeatures: TimeFeatureStorage

    /// A limit of `averageBits` bits; by default 50 steps of time features are cached, as in the paper.
    public init(averageBits: Double, timeFeatures: TimeFeatureStorage = .paper) {
        self.averageBits = averageBits
        self.timeFeatures = timeFeatures
    }
}

/// What the rule is told beside the budget.
public struct AllocationOptions: Sendable {
    /// The exponent of the layer's size in S = M N^-eta; finite. The paper's is 0.3.
    public var eta: Double
    /// M: the measure that layers are compared by; nil for the first of `mse`, `noise` and `fisher` that the table has
    /// for all layers whose width is free.
    public var damage: DamageMeasure?
    /// Whether the layers with the largest CLIP-score drops get up to three more bits.
    public var givesClipBonus: Bool
    /// The container that the recipe's stored bytes are forecast for.
    public var storage: StorageModel

    /// The paper's settings, stored as fixed fields.
    public init(
        eta: Double = 0.3, damage: DamageMeasure? = nil, givesClipBonus: Bool = true,
        storage: StorageModel = .fixedFields
    ) {
        self.eta = eta
        self.damage = damage
        self.givesClipBonus = givesClipBonus
        self.storage = storage
    }
}
