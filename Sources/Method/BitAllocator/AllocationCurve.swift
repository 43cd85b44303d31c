// SPDX-License-Identifier: Apache-2.0
// Total quantization error over size for all budgets, by the exact solver and by the paper's rule.

import Foundation
import Recipes

/// A point of a curve.
public struct AllocationPoint: Codable, Hashable, Sendable {
    /// Average bits per weight.
    public let averageBits: Double
    /// Bytes of the packed file; nil for a table without an inventory.
    public let storedBytes: Int?
    /// The total quantization error: the sum of the errors of single layers.
    public let predictedError: Double
}

/// Total quantization error over size, by both methods.
public struct AllocationCurve: Codable, Sendable {
    /// The metric of the quantization error.
    public let metric: AllocationMetric
    /// From the fewest bits to the smallest error. Every point is the exact optimum of its own average, and two
    /// neighbors differ in one layer. The optimum of a budget between two points is never below the line that joins
    /// them.
    public let optimal: [AllocationPoint]
    /// The recipes of all thresholds of the paper's rule, from the fewest bits on.
    public let threshold: [AllocationPoint]
}

/// Computes the curve of a table.
///
/// - Parameters:
///   - table: the measurements.
///   - timeFeatures: whether time features are cached, and for how many steps.
///   - options: as for one budget.
/// - Returns: the points of both methods.
/// - Throws: `AllocationError`, as `allocateBits`.
public func allocationCurve(
    _ table: SensitivityTable, timeFeatures: TimeFeatureStorage = .paper,
    options: AllocationOptions = AllocationOptions()
) throws(AllocationError) -> AllocationCurve {
    func points(
        _ allocator: Allocator, _ choices: [[BitWidth]]
    ) throws(AllocationError) -> [AllocationPoint] {
        var points: [AllocationPoint] = []
        for bits in choices {
            guard let total = allocator.errors?.total(bits) else { continue }
            let point = AllocationPoint(
                averageBits: allocator.problem.averageBits(bits),
                storedBytes: table.inventory == nil
                    ? nil : try allocator.problem.storedBytes(bits, options.storage), predictedError: total)
            // Thresholds between two sensitivities of a pinned layer give the same recipe.
            if points.last != point { points.append(point) }
        }
        return points
    }
    let optimal = try Allocator(table, timeFeatures, options, .optimal)
    var thresholdOptions = options
    thresholdOptions.metric = optimal.errorFunction.metric
    let threshold = try Allocator(table, timeFeatures, thresholdOptions, .threshold)
    return AllocationCurve(
        metric: optimal.errorFunction.metric, optimal: try points(optimal, try optimal.solver().curve),
        threshold: try points(threshold, try threshold.rule(threshold.bonus).curve))
}
