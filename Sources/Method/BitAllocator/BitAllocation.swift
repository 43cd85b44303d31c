// SPDX-License-Identifier: Apache-2.0
// A recipe and how it came about.

import Foundation
import Recipes

/// What a budget led to.
public struct BitAllocation: Equatable, Sendable {
    /// The widths, with `averageBits`, the method's name, the cached steps and the model's name filled in;
    /// `storedBytes` too where the table has an inventory.
    public var recipe: BitRecipe
    /// The average of `recipe`, in bits.
    public let averageBits: Double
    /// The budgets that make a difference, in the budget's unit (bits, bytes or dB).
    public let attainable: ClosedRange<Double>
    /// The measure M that widths were chosen by.
    public let metric: AllocationMetric
    /// The sensitivity that the widths do together if sensitivities of single layers add up; nil where a layer was measured at no
    /// width that this follows from.
    public let predictedError: Double?
    /// For `optimal`: no recipe within the budget has a smaller `predictedError` than this (with a PSNR for a budget: fewer
    /// average bits). Equal to it: the recipe is proven to be the best.
    public let lowerBound: Double?
    /// S_o, for `threshold`: a layer has the narrowest width whose score is below it.
    public let threshold: Double?
    /// What became of the bonus bits.
    public let bonus: ClipBonus
    /// Layers whose width is wider than any that was measured, so that their sensitivity was extrapolated: see `SensitivityByBits`.
    public let extrapolated: [LayerID]
    /// Whether the table said what the whole model holds. Where it did not, the listed layers were taken for the whole
    /// model, and neither time features nor stored bytes were counted.
    public let countsWholeModel: Bool

    /// The PSNR of images that `predictedError` stands for, in dB, where that is a mean squared error.
    public var predictedPSNR: Double? {
        guard metric == .mse, let predictedError, predictedError > 0 else { return nil }
        return -10 * log10(predictedError)
    }
}
