// SPDX-License-Identifier: Apache-2.0
// The recipe of the least sensitivity within a budget, if sensitivities of single layers add up: a multiple-choice knapsack problem,
// solved exactly.

import Foundation
import Recipes

/// The widths that a layer may get, and the best choice of them.
struct OptimalAllocation {
    private let problem: AllocationProblem
    /// What the fixed layers do.
    private let fixedSensitivity: Double
    /// By candidate, narrowest first.
    private let choices: [[(width: BitWidth, sensitivity: Double)]]

    /// - Throws: `AllocationError.unmeasuredLayer` for the first candidate without a width to choose.
    init(
        _ problem: AllocationProblem, sensitivities: SensitivityByBits, maximumWidth: BitWidth
    ) throws(AllocationError) {
        self.problem = problem
        fixedSensitivity = sensitivities.fixed
        var choices: [[(width: BitWidth, sensitivity: Double)]] = []
        for (index, candidate) in problem.candidates.enumerated() {
            let own = sensitivities.widths(of: index).filter { choice in
                candidate.pinned.map { $0 == choice.width } ?? (choice.width <= maximumWidth)
            }
            guard !own.isEmpty else {
                throw .unmeasuredLayer(
                    path: candidate.path,
                    widths: candidate.pinned.map { [$0] }
                        ?? BitWidth.all.filter { $0 <= maximumWidth })
            }
            choices.append(own)
        }
        self.choices = choices
    }

    /// A choice of widths, and the proof that there is no better one.
    struct Solution {
        let widths: [BitWidth]
        /// What was minimised: the sensitivity of the candidates, or their bits.
        let value: Double
        /// No choice has less.
        let lowerBound: Double
    }

    /// The widths of the least sensitivity within the capacity of `meter`, less some units; nil where there are none.
    func solve(_ meter: BudgetMeter, lessUnits: Int = 0) -> Solution? {
        solve(classes(meter), capacity: meter.capacity - lessUnits)
    }

    /// The fewest bits whose sensitivity is at most `limit`; nil where all widths do more. Sensitivities are counted in units of
    /// 2^-40 of the limit, each rounded up.
    func solve(sensitivityAtMost limit: Double) -> Solution? {
        let units = Double(1 << 40)
        // What the fixed layers leave; where that is nothing, no widths are good enough.
        let limit = limit - fixedSensitivity
        guard limit > 0 else { return nil }
        let classes = classes { weights, width, sensitivity in
            KnapsackProblem.Choice(
                cost: Int(min(max(sensitivity / limit * units, 0), 2 * units).rounded(.up)),
                sensitivity: width.bits * Double(weights))
        }
        return solve(classes, capacity: 1 << 40)
    }

    private func solve(_ classes: [[KnapsackProblem.Choice]], capacity: Int) -> Solution? {
        let solution = KnapsackSolver().solve(KnapsackProblem(classes: classes, capacity: capacity))
        return solution.map { found in
            Solution(
                widths: zip(choices, found.choices).map { $0[$1].width }, value: found.sensitivity,
                lowerBound: found.lowerBound)
        }
    }

    /// The choices of all candidates as the solver's.
    private func classes(
        _ choice: (_ weights: Int, _ width: BitWidth, _ sensitivity: Double) -> KnapsackProblem.Choice
    ) -> [[KnapsackProblem.Choice]] {
        zip(problem.candidates, choices).map { candidate, own in
            own.map { choice(candidate.weights, $0.width, $0.sensitivity) }
        }
    }

    private func classes(_ meter: BudgetMeter) -> [[KnapsackProblem.Choice]] {
        classes { weights, width, sensitivity in
            KnapsackProblem.Choice(cost: meter.cost(weights, width), sensitivity: sensitivity)
        }
    }

    /// The cheapest widths.
    var narrowest: [BitWidth] { choices.map { $0[0].width } }

    /// The narrowest widths of the least sensitivity: more bits would change nothing.
    var best: [BitWidth] {
        choices.map { own in
            own.reduce(own[0]) { $1.sensitivity < $0.sensitivity ? $1 : $0 }.width
        }
    }

    /// The efficient sizes from the narrowest to the best widths: every one is the exact optimum of its own cost, and
    /// two neighbours differ by one layer's step.
    func curve(_ meter: BudgetMeter) -> [[BitWidth]] {
        let relaxation = KnapsackRelaxation(classes(meter))
        var widths = zip(choices, relaxation.efficient).map { $0[$1.undominated[0]].width }
        var points = [widths]
        for step in relaxation.steps {
            widths[step.index] =
                choices[step.index][relaxation.efficient[step.index].undominated[step.position]].width
            points.append(widths)
        }
        return points
    }
}
