// SPDX-License-Identifier: Apache-2.0
// Why a budget cannot be turned into a recipe. Cases carry facts; the text is made here once.

import Foundation
import Recipes

/// An error of allocating bits.
public enum AllocationError: Error, Equatable, Sendable {
    /// Even the narrowest widths exceed the budget; in average bits.
    case infeasible(requested: Double, minimum: Double, maximum: Double)
    /// The budget is not a finite, positive number of bits.
    case invalidBudget(Double)
    /// The number of cached steps is negative.
    case invalidSteps(Int)
    /// The exponent eta is not finite.
    case invalidEta(Double)
    /// A layer without a measurement at any of the widths that the rule chooses from.
    case unmeasuredLayer(path: LayerID, widths: [BitWidth])
    /// A layer that was measured at a width, but not by the measure that the rule compares layers by.
    case missingDamage(path: LayerID, width: BitWidth, measure: DamageMeasure)
    /// The sensitivity table is faulty or does not fit its model.
    case table(RecipeError)
}

extension AllocationError: CustomStringConvertible {
    /// One line: what, where, expected and found, what to do.
    public var description: String {
        switch self {
        case .infeasible(let requested, let minimum, let maximum):
            let least = Self.text((minimum * 1e4).rounded(.up) / 1e4)
            return
                "budget: expected at least \(least) average bits (at most \(Self.text(maximum)) can be used), found "
                + "\(Self.text(requested)); raise the budget or cache fewer steps"
        case .invalidBudget(let bits):
            return "budget: expected a positive number of average bits, found \(bits)"
        case .invalidSteps(let steps):
            return "cached steps: expected a number >= 0, found \(steps)"
        case .invalidEta(let eta):
            return "eta: expected a finite number, found \(eta)"
        case .unmeasuredLayer(let path, let widths):
            let text = widths.map(\.description).joined(separator: ", ")
            return
                "\(path): expected a measurement at one of \(text) bits, found none; analyze this layer again"
        case .missingDamage(let path, let width, let measure):
            return
                "\(path): bits.\(width).\(measure.rawValue): expected a number, found none; analyze this layer by "
                + "that measure, or allocate by another --damage"
        case .table(let error):
            return "sensitivity table: \(error)"
        }
    }

    private static func text(_ bits: Double) -> String {
        String(format: "%.4f", bits)
    }
}
