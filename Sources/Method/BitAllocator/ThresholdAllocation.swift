// SPDX-License-Identifier: Apache-2.0
// The paper's rule (BitsFusion, arXiv 2406.04333, Algorithm 1, part 3):
//     S_{i,b} = M_{i,b} N_i^-eta        b_i = smallest b in {1, 2, 3} with S_{i,b} < S_o, else 4
// M quantization error (in the paper the mean squared error), N weights of the layer, S sensitivity, S_o threshold,
// set by the budget.

import Foundation
import Recipes

/// The recipes of all thresholds.
struct ThresholdAllocation {
    /// The bits that the rule chooses from, if measured.
    static let candidateBits = [BitWidth(1), BitWidth(2), BitWidth(3)]
    /// The bits of a layer without a sensitivity below the threshold.
    static let fallbackBits = BitWidth(4)

    private let problem: AllocationProblem
    private let maximumBits: BitWidth
    /// For each candidate, its measured bits in ascending order and their sensitivities S.
    private let sensitivities: [[(bits: BitWidth, sensitivity: Double)]]
    /// The bonus bits of each candidate.
    private let bonusBits: [Int]
    /// Every threshold with a recipe of its own, ascending. No sensitivity is below the first one, all are below the
    /// last.
    let thresholds: [Double]

    /// - Throws: `AllocationError.unmeasuredLayer` for the first candidate without a measurement to choose by;
    ///   `.missingScore` for the first measurement without the metric.
    init(
        _ problem: AllocationProblem, _ errorFunction: ErrorFunction, eta: Double, bonus: ClipBonus,
        maximumBits: BitWidth = BitWidth(8)
    ) throws(AllocationError) {
        self.problem = problem
        self.maximumBits = maximumBits
        bonusBits = problem.candidates.map { bonus.bits(for: $0.path) }
        var sensitivities: [[(bits: BitWidth, sensitivity: Double)]] = []
        for candidate in problem.candidates {
            let factor = pow(Double(candidate.weights), -eta)
            var row: [(bits: BitWidth, sensitivity: Double)] = []
            for bits in Self.candidateBits {
                guard let scores = candidate.scores[bits] else { continue }
                guard let error = errorFunction(scores) else {
                    throw .missingScore(path: candidate.path, bits: bits, metric: errorFunction.metric)
                }
                row.append((bits, error * factor))
            }
            guard !row.isEmpty || candidate.pinned != nil else {
                throw .unmeasuredLayer(path: candidate.path, bits: Self.candidateBits)
            }
            sensitivities.append(row)
        }
        self.sensitivities = sensitivities
        let values = Set(sensitivities.joined().map(\.sensitivity)).sorted()
        thresholds = values + [(values.last ?? 0).nextUp]
    }

    /// The bits of each candidate for a threshold, bonus bits included; those of pinned layers are fixed.
    func bits(threshold: Double) -> [BitWidth] {
        zip(problem.candidates, zip(sensitivities, bonusBits)).map { candidate, layer in
            if let pinned = candidate.pinned { return pinned }
            let (row, bonusBits) = layer
            let chosen = row.first { $0.sensitivity < threshold }?.bits ?? Self.fallbackBits
            return min(chosen.widened(by: bonusBits), maximumBits)
        }
    }

    /// The bits of the largest and of the smallest threshold.
    var fewestBits: [BitWidth] { bits(threshold: thresholds[thresholds.count - 1]) }
    var mostBits: [BitWidth] { bits(threshold: thresholds[0]) }

    /// The smallest threshold whose recipe costs no more than the limit, found by bisection. The recipe changes only at
    /// sensitivities, so the result is exact. A higher threshold never costs more.
    ///
    /// - Parameters:
    ///   - limit: of the cost.
    ///   - cost: of a choice of bits.
    /// - Returns: nil if the recipe of the largest threshold costs more.
    /// - Throws: what `cost` throws.
    func threshold<Cost: Comparable>(
        within limit: Cost, _ cost: ([BitWidth]) throws(AllocationError) -> Cost
    ) throws(AllocationError) -> Double? {
        guard try cost(fewestBits) <= limit else { return nil }
        var within = thresholds.count - 1
        var above = -1
        while within - above > 1 {
            let middle = (above + within) / 2
            if try cost(bits(threshold: thresholds[middle])) <= limit {
                within = middle
            } else {
                above = middle
            }
        }
        return thresholds[within]
    }

    /// The largest threshold whose recipe has a total error of at most the limit; nil if there is none.
    ///
    /// Every threshold is tried: errors may rise with the bits.
    func threshold(errorAtMost limit: Double, _ errors: LayerErrors) -> Double? {
        thresholds.last { errors.total(bits(threshold: $0)).map { $0 <= limit } ?? false }
    }

    /// The recipes of all thresholds, from the fewest bits on.
    var curve: [[BitWidth]] { thresholds.reversed().map { bits(threshold: $0) } }
}
