// SPDX-License-Identifier: Apache-2.0
// The paper's rule (BitsFusion, arXiv 2406.04333, Algorithm 1, part 3):
//     S_{i,b} = M_{i,b} N_i^-eta        b_i = smallest b in {1, 2, 3} with S_{i,b} < S_o, else 4
// M sensitivity (the paper: mean squared error), N weights of the layer, S_o the threshold that the budget sets.

import Foundation
import Recipes

/// The widths that each threshold leads to.
struct ThresholdAllocation {
    /// The widths that the rule chooses from where they were measured.
    static let chosenBits = [BitWidth(1), BitWidth(2), BitWidth(3)]
    /// The width of a layer none of whose scores is below the threshold.
    static let fallback = BitWidth(4)

    private let problem: AllocationProblem
    private let maximumWidth: BitWidth
    /// For each candidate the measured widths, narrowest first, and their scores S.
    private let scores: [[(width: BitWidth, score: Double)]]
    /// The bits that each candidate gets on top.
    private let bonus: [Int]
    /// Every threshold that makes a difference, ascending. No score lies below the first one, all below the last one.
    let thresholds: [Double]

    /// - Throws: `AllocationError.unmeasuredLayer` for the first candidate without a measurement to choose by;
    ///   `.missingSensitivity` for the first whose measurement lacks the sensitivity.
    init(
        _ problem: AllocationProblem, sensitivity: SensitivityFunction, eta: Double, bonus: ClipBonus,
        maximumWidth: BitWidth = BitWidth(8)
    ) throws(AllocationError) {
        self.problem = problem
        self.maximumWidth = maximumWidth
        self.bonus = problem.candidates.map { bonus.bits(for: $0.path) }
        var scores: [[(width: BitWidth, score: Double)]] = []
        for candidate in problem.candidates {
            let factor = pow(Double(candidate.weights), -eta)
            var row: [(width: BitWidth, score: Double)] = []
            for width in Self.chosenBits {
                guard let measure = candidate.measures[width] else { continue }
                guard let value = sensitivity(measure) else {
                    throw .missingSensitivity(path: candidate.path, width: width, measure: sensitivity.measure)
                }
                row.append((width, value * factor))
            }
            guard !row.isEmpty || candidate.pinned != nil else {
                throw .unmeasuredLayer(path: candidate.path, widths: Self.chosenBits)
            }
            scores.append(row)
        }
        self.scores = scores
        let values = Set(scores.joined().map(\.score)).sorted()
        thresholds = values + [(values.last ?? 0).nextUp]
    }

    /// The width of each candidate under the threshold, bonus bits included; pinned ones as they are.
    func widths(threshold: Double) -> [BitWidth] {
        zip(problem.candidates, zip(scores, bonus)).map { candidate, own in
            if let pinned = candidate.pinned { return pinned }
            let (row, extra) = own
            let width = row.first { $0.score < threshold }?.width ?? Self.fallback
            return min(width.widened(by: extra), maximumWidth)
        }
    }

    /// The widths of the largest and of the smallest threshold: the narrowest and the widest that the rule has.
    var narrowest: [BitWidth] { widths(threshold: thresholds[thresholds.count - 1]) }
    var widest: [BitWidth] { widths(threshold: thresholds[0]) }

    /// The smallest threshold whose widths cost no more than the limit, found by bisection: nothing happens between two
    /// scores, so there is no tolerance in it. A higher threshold never costs more.
    ///
    /// - Parameters:
    ///   - limit: of the cost.
    ///   - cost: of widths.
    /// - Returns: nil where the largest threshold's widths cost more.
    /// - Throws: what `cost` throws.
    func threshold<Cost: Comparable>(
        within limit: Cost, _ cost: ([BitWidth]) throws(AllocationError) -> Cost
    ) throws(AllocationError) -> Double? {
        guard try cost(narrowest) <= limit else { return nil }
        var within = thresholds.count - 1
        var above = -1
        while within - above > 1 {
            let middle = (above + within) / 2
            if try cost(widths(threshold: thresholds[middle])) <= limit {
                within = middle
            } else {
                above = middle
            }
        }
        return thresholds[within]
    }

    /// The largest threshold whose widths do no more sensitivity than the limit; nil where all do more.
    ///
    /// Every threshold is tried: sensitivities may rise with the width.
    func threshold(sensitivityAtMost limit: Double, _ sensitivities: SensitivityByBits) -> Double? {
        thresholds.last { sensitivities.sum(widths(threshold: $0)).map { $0 <= limit } ?? false }
    }

    /// The widths of every threshold, from the narrowest on.
    var curve: [[BitWidth]] { thresholds.reversed().map(widths) }
}
