// SPDX-License-Identifier: Apache-2.0
// What a whole recipe did to the model, measured: sensitivities of single layers do not quite add up.

/// One of the recipes that were tried end to end before one was kept.
public struct VerifiedRecipe: Codable, Equatable, Sendable {
    /// How its widths were chosen.
    public let method: String
    /// By which metric.
    public let metric: String
    public let averageBits: Double
    /// The sum of its layers' sensitivities.
    public let predictedError: Double?
    /// What all its layers together did, quantized without training.
    public let measured: SensitivityScores
    /// Whether it is the one that was kept.
    public var isKept: Bool

    public init(
        method: String, metric: String, averageBits: Double, predictedError: Double?,
        measured: SensitivityScores, isKept: Bool = false
    ) {
        (self.method, self.metric, self.averageBits) = (method, metric, averageBits)
        (self.predictedError, self.measured, self.isKept) = (predictedError, measured, isKept)
    }
}
