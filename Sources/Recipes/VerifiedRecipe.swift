// SPDX-License-Identifier: Apache-2.0
// What a whole recipe did to the model, measured: damages of single layers do not quite add up.

/// One of the recipes that were tried end to end before one was kept.
public struct VerifiedRecipe: Codable, Equatable, Sendable {
    /// How its widths were chosen.
    public let method: String
    /// By which damage.
    public let damage: String
    public let averageBits: Double
    /// The sum of its layers' damages.
    public let predictedDamage: Double?
    /// What all its layers together did, quantized without training.
    public let measured: SensitivityMeasure
    /// Whether it is the one that was kept.
    public var isKept: Bool

    public init(
        method: String, damage: String, averageBits: Double, predictedDamage: Double?,
        measured: SensitivityMeasure, isKept: Bool = false
    ) {
        (self.method, self.damage, self.averageBits) = (method, damage, averageBits)
        (self.predictedDamage, self.measured, self.isKept) = (predictedDamage, measured, isKept)
    }
}
