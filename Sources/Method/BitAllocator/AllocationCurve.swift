// SPDX-License-Identifier: Apache-2.0
// All budgets at once: what every efficient size costs in sensitivity, and the paper's rule beside it.

import Foundation
import Recipes

/// A point of a curve.
public struct AllocationPoint: Codable, Hashable, Sendable {
    /// The average bits of a weight.
    public let averageBits: Double
    /// The payload of the packed file, in bytes; nil for a table without an inventory.
    public let storedBytes: Int?
    /// The sum of the layers' sensitivities.
    public let sensitivity: Double
}

/// Sensitivity over size, by both methods.
public struct AllocationCurve: Codable, Sendable {
    /// The measure of sensitivity.
    public let metric: AllocationMetric
    /// From the narrowest widths to those of the least sensitivity. Every point is the exact optimum of its own average, and two
    /// neighbours differ by one layer's step: the optima of budgets in between lie no lower than the line that joins them.
    public let optimal: [AllocationPoint]
    /// What every threshold of the paper's rule leads to, from the narrowest widths on.
    public let threshold: [AllocationPoint]
}

/// Works out the curve of a table.
///
/// - Parameters:
///   - table: the measurements.
///   - timeFeatures: whether time features are cached, and for how many steps.
///   - options: as for one budget.
/// - Returns: both methods' points.
/// - Throws: `AllocationError`, as `allocateBits`.
public func allocationCurve(
    _ table: SensitivityTable, timeFeatures: TimeFeatureStorage = .paper,
    options: AllocationOptions = AllocationOptions()
) throws(AllocationError) -> AllocationCurve {
    func points(
        _ allocator: Allocator, _ choices: [[BitWidth]]
    ) throws(AllocationError) -> [AllocationPoint] {
        var points: [AllocationPoint] = []
        for widths in choices {
            guard let sensitivity = allocator.sensitivities?.sum(widths) else { continue }
            let point = AllocationPoint(
                averageBits: allocator.problem.averageBits(widths),
                storedBytes: table.inventory == nil
                    ? nil : try allocator.problem.storedBytes(widths, options.storage), sensitivity: sensitivity)
            // A threshold between two scores of a pinned layer changes nothing.
            if points.last != point { points.append(point) }
        }
        return points
    }
    let optimal = try Allocator(table, timeFeatures, options, .optimal)
    let solver = try optimal.solver()
    // Any budget: costs do not depend on it.
    let meter = BudgetMeter(averageBits: 1, of: optimal.problem)
    var same = options
    same.metric = optimal.sensitivity.measure
    let threshold = try Allocator(table, timeFeatures, same, .threshold)
    return AllocationCurve(
        metric: optimal.sensitivity.measure, optimal: try points(optimal, solver.curve(meter)),
        threshold: try points(threshold, try threshold.rule(threshold.bonus).curve))
}
