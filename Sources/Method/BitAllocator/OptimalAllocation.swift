// SPDX-License-Identifier: Apache-2.0
// The recipe with the smallest total quantization error within a budget, where the total is the sum of the errors of
// single layers: a multiple-choice knapsack problem, solved exactly.

import Foundation
import Recipes

/// The available grids of each layer, and the best choice of them.
struct OptimalAllocation {
    private let problem: AllocationProblem
    /// The error of the fixed layers.
    private let fixedError: Double
    /// For each candidate, in ascending order of their cost.
    private let choices: [[LayerChoice]]

    /// - Parameters:
    ///   - problem: the layers.
    ///   - choices: at least one grid for each candidate, in ascending order of bits per weight.
    ///   - fixedError: the error of the fixed layers.
    init(_ problem: AllocationProblem, _ choices: [[LayerChoice]], fixedError: Double) {
        (self.problem, self.choices, self.fixedError) = (problem, choices, fixedError)
    }

    /// A choice of grids with the proof that there is no better one.
    struct Solution {
        let choices: [LayerChoice]
        /// What was minimized: the total error of the candidates, or their bits.
        let value: Double
        /// No choice has a smaller value.
        let lowerBound: Double
    }

    // MARK: Knapsack problems

    /// The problem for a budget of `averageBits`, in units as small as whole numbers up to 2^52 allow.
    ///
    /// Costs are rounded to the nearest unit, which over n layers adds up to at most n / 2 units. The capacity is
    /// raised by that much, so that a choice which meets the budget exactly is found. The caller checks whether a
    /// solution exceeds the budget by less than a rounding.
    func knapsack(averageBits: Double) -> KnapsackProblem {
        let largestCost = Double(problem.candidates.reduce(1) { $0 + $1.weights }) * 16
        let unitsPerBit = pow(2, (52 - log2(largestCost)).rounded(.down))
        let fixed =
            Double(problem.timeBits) + BitWidth.firstAndLast.effectiveBits * Double(problem.fixed.values.reduce(0, +))
        let left = (averageBits * Double(problem.weightCount) - fixed) * unitsPerBit
        // The bound exceeds the cost of any choice and fits an Int.
        let capacity = Int(min(max(left, -1e17), 1e17).rounded(.down)) + (problem.candidates.count + 1) / 2 + 1
        return knapsack(capacity: capacity) { weights, choice in
            Int((choice.bitsPerWeight * Double(weights) * unitsPerBit).rounded())
        }
    }

    /// The problem for a budget of `storedBytes` of the packed file, in bytes.
    ///
    /// - Throws: `AllocationError.table`, `.sizeWithoutInventory`.
    func knapsack(storedBytes: Int, _ storage: StorageModel) throws(AllocationError) -> KnapsackProblem {
        let oneBit = problem.candidates.map { _ in BitWidth(1) }
        let codes = problem.candidates.reduce(0) { $0 + storage.codeBytes($1.weights, BitWidth(1).levels) }
        let capacity = storedBytes - (try problem.storedBytes(oneBit, storage) - codes)
        return knapsack(capacity: capacity) { weights, choice in choice.codeBytes(weights, storage) }
    }

    private func knapsack(capacity: Int, cost: (_ weights: Int, _ choice: LayerChoice) -> Int) -> KnapsackProblem {
        knapsack(capacity: capacity, cost: cost) { _, choice in choice.error }
    }

    private func knapsack(
        capacity: Int, cost: (_ weights: Int, _ choice: LayerChoice) -> Int,
        penalty: (_ weights: Int, _ choice: LayerChoice) -> Double
    ) -> KnapsackProblem {
        let classes = zip(problem.candidates, choices).map { candidate, layerChoices in
            layerChoices.map { choice in
                KnapsackProblem.Choice(
                    cost: cost(candidate.weights, choice), penalty: penalty(candidate.weights, choice))
            }
        }
        return KnapsackProblem(classes: classes, capacity: capacity)
    }

    // MARK: Solutions

    /// The choice with the smallest penalty within the capacity of a problem of these layers; nil if there is none.
    func solve(_ knapsack: KnapsackProblem) -> Solution? {
        KnapsackSolver().solve(knapsack).map { found in
            Solution(
                choices: zip(choices, found.choices).map { $0[$1] }, value: found.penalty,
                lowerBound: found.lowerBound)
        }
    }

    /// The fewest bits with a total error of at most `limit`; nil if there are none. Errors are counted in units of
    /// 2^-40 of the limit, each rounded up.
    func solve(errorAtMost limit: Double) -> Solution? {
        let units = Double(1 << 40)
        // The part of the limit that the fixed layers leave.
        let limit = limit - fixedError
        guard limit > 0 else { return nil }
        return solve(
            knapsack(capacity: 1 << 40) { _, choice in
                Int(min(max(choice.error / limit * units, 0), 2 * units).rounded(.up))
            } penalty: { weights, choice in
                choice.bitsPerWeight * Double(weights)
            })
    }

    /// The cheapest grid of each candidate.
    var cheapest: [LayerChoice] { choices.map { $0[0] } }

    /// The cheapest grid with the smallest error of each candidate: more bits would not reduce it.
    var best: [LayerChoice] {
        choices.map { layerChoices in
            layerChoices.reduce(layerChoices[0]) { $1.error < $0.error ? $1 : $0 }
        }
    }

    /// The total quantization error: the sum over candidates and fixed layers.
    func total(_ choices: [LayerChoice]) -> Double { choices.reduce(fixedError) { $0 + $1.error } }

    /// The efficient choices, from the fewest to the best bits: each is the exact optimum of its own cost, and two
    /// neighbors differ in one layer.
    var curve: [[LayerChoice]] {
        // Costs do not depend on the budget.
        let relaxation = KnapsackRelaxation(knapsack(averageBits: 1).classes)
        var chosen = zip(choices, relaxation.efficient).map { $0[$1.undominated[0]] }
        var points = [chosen]
        for step in relaxation.steps {
            chosen[step.index] = choices[step.index][relaxation.efficient[step.index].undominated[step.position]]
            points.append(chosen)
        }
        return points
    }
}
