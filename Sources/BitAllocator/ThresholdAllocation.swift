// SPDX-License-Identifier: Apache-2.0
// The paper's rule (BitsFusion, arXiv 2406.04333, Algorithm 1, part 3):
//     S_{i,b} = M_{i,b} N_i^-eta        b_i = smallest b in {1, 2, 3} with S_{i,b} < S_o, else 4
// M damage (the paper: mean squared error), N weights of the layer, S_o the threshold that the budget sets.

import Foundation
import Recipes

/// The widths that each threshold leads to.
struct ThresholdAllocation {
    /// The widths that the rule chooses from where they were measured.
    static let chosenWidths = [BitWidth(1), BitWidth(2), BitWidth(3)]
    /// The width of a layer none of whose scores is below the threshold.
    static let fallback = BitWidth(4)

    private let problem: AllocationProblem
    /// For each candidate the measured widths, narrowest first, and their scores S.
    private let scores: [[(width: BitWidth, score: Double)]]
    /// The bits that each candidate gets on top.
    private let bonus: [Int]
    /// Every threshold that makes a difference, ascending. No score lies below the first one, all below the last one.
    let thresholds: [Double]

    /// - Throws: `AllocationError.unmeasuredLayer` for the first candidate without a measurement to choose by;
    ///   `.missingDamage` for the first whose measurement lacks the damage.
    init(
        _ problem: AllocationProblem, damage: DamageMeasure, eta: Double, bonus: ClipBonus
    ) throws(AllocationError) {
        self.problem = problem
        self.bonus = problem.candidates.map { bonus.bits(for: $0.path) }
        var scores: [[(width: BitWidth, score: Double)]] = []
        for candidate in problem.candidates {
            let factor = pow(Double(candidate.weights), -eta)
            var row: [(width: BitWidth, score: Double)] = []
            for width in Self.chosenWidths {
                guard let measure = candidate.measures[width] else { continue }
                guard let value = measure[damage.metric] else {
                    throw .missingDamage(path: candidate.path, width: width, measure: damage)
                }
                row.append((width, value * factor))
            }
            guard !row.isEmpty else {
                throw .unmeasuredLayer(path: candidate.path, widths: Self.chosenWidths)
            }
            scores.append(row)
        }
        self.scores = scores
        let values = Set(scores.joined().map(\.score)).sorted()
        thresholds = values + [(values.last ?? 0).nextUp]
    }

    /// The width of each candidate under the threshold, bonus bits included.
    func widths(threshold: Double) -> [BitWidth] {
        zip(scores, bonus).map { row, extra in
            let width = row.first { $0.score < threshold }?.width ?? Self.fallback
            return width.widened(by: extra)
        }
    }

    /// The average bits under the threshold. A higher threshold never gives a higher average.
    func averageBits(threshold: Double) -> Double {
        problem.averageBits(widths(threshold: threshold))
    }

    /// The averages of the largest and of the smallest threshold, in bits.
    var attainable: ClosedRange<Double> {
        averageBits(threshold: thresholds[thresholds.count - 1])...averageBits(threshold: thresholds[0])
    }

    /// The smallest threshold whose average is within the budget, found by bisection: nothing happens between two
    /// scores, so there is no tolerance in it.
    ///
    /// - Throws: `AllocationError.infeasible` where the largest threshold's average is not within the budget.
    func threshold(within budget: Double) throws(AllocationError) -> Double {
        let attainable = attainable
        guard attainable.lowerBound <= budget else {
            throw .infeasible(
                requested: budget, minimum: attainable.lowerBound, maximum: attainable.upperBound)
        }
        var within = thresholds.count - 1
        var above = -1
        while within - above > 1 {
            let middle = (above + within) / 2
            if averageBits(threshold: thresholds[middle]) <= budget {
                within = middle
            } else {
                above = middle
            }
        }
        return thresholds[within]
    }
}
