// SPDX-License-Identifier: Apache-2.0
// Total quantization error over size for all budgets, by the exact solver and by the paper's rule.

import Foundation
import Recipes

/// A point of a curve.
public struct AllocationPoint: Codable, Hashable, Sendable {
    /// Average bits per weight.
    public let averageBits: Double
    /// The same average with the entropy of the codes before training in place of log2(levels); nil for a table
    /// without rate-distortion curves.
    public let entropyBits: Double?
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
    /// As `optimal`, for the method `entropy`, by `entropyBits`; empty for a table without rate-distortion curves.
    public let entropy: [AllocationPoint]
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
        _ allocator: Allocator, _ recipes: [[LayerChoice]], _ total: ([LayerChoice]) -> Double?
    ) throws(AllocationError) -> [AllocationPoint] {
        var points: [AllocationPoint] = []
        for choices in recipes {
            guard let total = total(choices) else { continue }
            let point = AllocationPoint(
                averageBits: allocator.problem.averageBits(choices.map(\.bits)),
                entropyBits: allocator.problem.entropyBits(choices),
                storedBytes: table.inventory == nil
                    ? nil : try allocator.problem.storedBytes(choices, options.storage), predictedError: total)
            // Thresholds between two sensitivities of a pinned layer give the same recipe.
            if points.last != point { points.append(point) }
        }
        return points
    }
    func exact(_ allocator: Allocator) throws(AllocationError) -> [AllocationPoint] {
        let solver = try allocator.solver()
        return try points(allocator, solver.curve, solver.total)
    }
    let optimal = try Allocator(table, timeFeatures, options, .optimal)
    var otherOptions = options
    otherOptions.metric = optimal.errorFunction.metric
    let threshold = try Allocator(table, timeFeatures, otherOptions, .threshold)
    let rule = try threshold.rule(threshold.bonus).curve
    // Tables of earlier versions have no curves, and those of other programs may lack the bits of a pin.
    let entropy = try? exact(try Allocator(table, timeFeatures, otherOptions, .entropy))
    return AllocationCurve(
        metric: optimal.errorFunction.metric, optimal: try exact(optimal),
        threshold: try points(threshold, rule.map(threshold.choices)) { choices in
            threshold.errors?.total(choices.map(\.bits))
        },
        entropy: entropy ?? [])
}
