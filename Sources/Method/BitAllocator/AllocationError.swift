// SPDX-License-Identifier: Apache-2.0
// Errors of the allocation. Cases carry facts; their text is made in `description`.

import Files
import Foundation
import Recipes

/// An error of allocating bits.
public enum AllocationError: Error, Equatable, Sendable {
    /// The recipe with the fewest bits exceeds the budget; in average bits.
    case infeasible(requested: Double, minimum: Double, maximum: Double)
    /// The recipe with the fewest bits exceeds the budget; in bytes.
    case infeasibleSize(requested: Int, minimum: Int, maximum: Int)
    /// The recipe with the smallest error has a lower PSNR; in dB.
    case infeasiblePSNR(requested: Double, maximum: Double)
    /// The budget is not a finite, positive number.
    case invalidBudget(Double)
    /// The number of cached steps is negative.
    case invalidSteps(Int)
    /// A budget in bytes for a table without an inventory.
    case sizeWithoutInventory
    /// A PSNR budget for a metric that is not the mean squared error of images.
    case psnrNeedsImages(AllocationMetric)
    /// A PSNR budget for a table without measurements of images.
    case noImages
    /// A pin with an invalid regular expression.
    case pattern(String)
    /// A pin whose pattern matches no layer with a free choice of bits.
    case pinnedNothing(String)
    /// The exponent eta is not finite.
    case invalidEta(Double)
    /// A layer without a measurement at any of the bit widths that may be chosen.
    case unmeasuredLayer(path: LayerID, bits: [BitWidth])
    /// A measurement without a score of the allocation metric.
    case missingScore(path: LayerID, bits: BitWidth, metric: AllocationMetric)
    /// A layer without a rate-distortion curve, for the method `entropy`.
    case missingRates(path: LayerID)
    /// The sum of the scores of all layers is not finite.
    case scoresTooLarge
    /// The sensitivity table is faulty or does not match its inventory.
    case table(RecipeError)
}

extension AllocationError {
    /// One line: what is wrong, where, expected and found, what to do.
    public var description: String {
        switch self {
        case .infeasible(let requested, let minimum, let maximum):
            let least = Self.text((minimum * 1e4).rounded(.up) / 1e4)
            let most = minimum < maximum ? " (useful up to \(Self.text(maximum)))" : ""
            return
                "budget: too small: expected at least \(least) average bits\(most), found \(Self.text(requested)); "
                + "raise the budget or cache fewer steps"
        case .infeasibleSize(let requested, let minimum, let maximum):
            return
                "budget: too small: expected at least \(minimum) bytes (useful up to \(maximum)), found \(requested); "
                + "raise the budget or cache fewer steps"
        case .infeasiblePSNR(let requested, let maximum):
            return
                "PSNR: too high: expected at most \(String(format: "%.2f", maximum)) dB, found \(requested); lower "
                + "it, or allow more bits with --max-bits"
        case .invalidBudget(let budget):
            return "budget: expected a positive number (PSNR: at most 200 dB), found \(budget)"
        case .sizeWithoutInventory:
            return
                "inventory: missing, but required for a budget in bytes; make the table with `bitsfusion analyze`, "
                + "or give a budget in average bits"
        case .psnrNeedsImages(let metric):
            return
                "PSNR: requires the mean squared error of images: expected metric mse, found \(metric.rawValue); use "
                + "--metric mse and a table of `bitsfusion analyze --measure images`"
        case .noImages:
            return
                "PSNR: requires the mean squared error of images, but the table has no measurements of images; analyze "
                + "the model with --measure images"
        case .pattern(let pattern):
            return "pin: not a regular expression: \"\(pattern)\"; correct it"
        case .pinnedNothing(let pattern):
            return
                "pin: no layer with a free choice of bits matches \"\(pattern)\" (conv_in and conv_out always have 8 "
                + "bits); see `bitsfusion info` for the paths"
        case .invalidSteps(let steps):
            return "cached steps: expected a number >= 0, found \(steps)"
        case .invalidEta(let eta):
            return "eta: expected a finite number, found \(eta)"
        case .unmeasuredLayer(let path, let bits):
            let text = bits.map(\.description).joined(separator: ", ")
            return "\(path): expected a measurement at one of \(text) bits, found none; analyze this layer again"
        case .missingScore(let path, let bits, let metric):
            return
                "\(path): bits.\(bits).\(metric.rawValue): expected a number, found none; analyze this layer by "
                + "that metric, or allocate by another --metric"
        case .missingRates(let path):
            return
                "\(path): rates: missing, but required by the method entropy; analyze the model again"
        case .scoresTooLarge:
            return "layers: the sum of the scores is not finite; analyze the model again"
        case .table(let error):
            return error.description
        }
    }

    private static func text(_ bits: Double) -> String {
        String(format: "%.4f", bits)
    }
}

extension AllocationError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .invalidBudget, .invalidSteps, .invalidEta, .pattern, .pinnedNothing, .psnrNeedsImages, .noImages:
            .usage
        case .infeasible, .infeasibleSize, .infeasiblePSNR, .sizeWithoutInventory, .unmeasuredLayer,
            .missingScore, .missingRates, .scoresTooLarge, .table:
            .badData
        }
    }
}
