// SPDX-License-Identifier: Apache-2.0
// Why a budget cannot be turned into a recipe. Cases carry facts; the text is made here once.

import Files
import Foundation
import Recipes

/// An error of allocating bits.
public enum AllocationError: Error, Equatable, Sendable {
    /// Even the narrowest widths exceed the budget; in average bits.
    case infeasible(requested: Double, minimum: Double, maximum: Double)
    /// Even the narrowest widths take more bytes.
    case infeasibleSize(requested: Int, minimum: Int, maximum: Int)
    /// Even the widest widths leave images of a lower PSNR, in dB.
    case infeasiblePSNR(requested: Double, maximum: Double)
    /// The budget is not a finite, positive number.
    case invalidBudget(Double)
    /// The number of cached steps is negative.
    case invalidSteps(Int)
    /// A size in bytes for a table that does not say what the model holds.
    case sizeWithoutInventory
    /// A PSNR for another sensitivity than squared errors of images.
    case psnrNeedsImages(AllocationMetric)
    /// A pin whose pattern is no regular expression.
    case pattern(String)
    /// A pin whose pattern matches no layer that has a width to choose.
    case pinnedNothing(String)
    /// The exponent eta is not finite.
    case invalidEta(Double)
    /// A layer without a measurement at any of the widths that the rule chooses from.
    case unmeasuredLayer(path: LayerID, widths: [BitWidth])
    /// A layer that was measured at a width, but not by the measure that the rule compares layers by.
    case missingSensitivity(path: LayerID, width: BitWidth, measure: AllocationMetric)
    /// The sensitivities of all layers together are no finite number.
    case sensitivitiesTooLarge
    /// The sensitivity table is faulty or does not fit its model.
    case table(RecipeError)
}

extension AllocationError {
    /// One line: what, where, expected and found, what to do.
    public var description: String {
        switch self {
        case .infeasible(let requested, let minimum, let maximum):
            let least = Self.text((minimum * 1e4).rounded(.up) / 1e4)
            let most = minimum < maximum ? " (at most \(Self.text(maximum)) can be used)" : ""
            return
                "budget: expected at least \(least) average bits\(most), found \(Self.text(requested)); raise the budget "
                + "or cache fewer steps"
        case .infeasibleSize(let requested, let minimum, let maximum):
            return
                "budget: expected at least \(minimum) bytes (at most \(maximum) can be used), found \(requested); raise "
                + "the budget or cache fewer steps"
        case .infeasiblePSNR(let requested, let maximum):
            return
                "PSNR: expected at most \(String(format: "%.2f", maximum)) dB, which the widest widths reach, found "
                + "\(requested); ask for less, or allow wider widths with --max-bits"
        case .invalidBudget(let budget):
            return "budget: expected a positive number (a PSNR: up to 200 dB), found \(budget)"
        case .sizeWithoutInventory:
            return
                "size: the table has no inventory, which says what the whole model holds; make it with `bitsfusion analyze`, "
                + "or give a budget in average bits"
        case .psnrNeedsImages(let measure):
            return
                "PSNR: follows from squared errors of images, not from \(measure.rawValue) alone; use --sensitivity mse and a "
                + "table that has them (`bitsfusion analyze --measure images`)"
        case .pattern(let pattern):
            return "pin: \"\(pattern)\" is not a regular expression"
        case .pinnedNothing(let pattern):
            return
                "pin: no layer whose width is free matches \"\(pattern)\" (conv_in and conv_out have 8 bits); see "
                + "`bitsfusion info`"
        case .invalidSteps(let steps):
            return "cached steps: expected a number >= 0, found \(steps)"
        case .invalidEta(let eta):
            return "eta: expected a finite number, found \(eta)"
        case .unmeasuredLayer(let path, let widths):
            let text = widths.map(\.description).joined(separator: ", ")
            return
                "\(path): expected a measurement at one of \(text) bits, found none; analyze this layer again"
        case .missingSensitivity(let path, let width, let measure):
            return
                "\(path): bits.\(width).\(measure.rawValue): expected a number, found none; analyze this layer by "
                + "that measure, or allocate by another --sensitivity"
        case .sensitivitiesTooLarge:
            return "sensitivity table: the sensitivities are too large to add up; analyze the model again"
        case .table(let error):
            return "sensitivity table: \(error)"
        }
    }

    private static func text(_ bits: Double) -> String {
        String(format: "%.4f", bits)
    }
}

extension AllocationError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .invalidBudget, .invalidSteps, .invalidEta, .pattern, .pinnedNothing, .psnrNeedsImages: .usage
        case .infeasible, .infeasibleSize, .infeasiblePSNR, .sizeWithoutInventory, .unmeasuredLayer,
            .missingSensitivity, .sensitivitiesTooLarge, .table:
            .badData
        }
    }
}
