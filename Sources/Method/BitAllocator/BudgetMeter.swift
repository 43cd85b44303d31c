// SPDX-License-Identifier: Apache-2.0
// What a choice of widths takes of a budget, in whole units that add up over layers: the exact solver's arithmetic.

import Foundation
import Recipes

/// Costs in units of a fraction of a bit for average bits, of a byte for stored bytes.
struct BudgetMeter {
    private let costs: @Sendable (_ weights: Int, _ width: BitWidth) -> Int
    /// What is left for the candidates.
    let capacity: Int

    /// A meter for average bits, in units as small as whole numbers up to 2^52 allow.
    ///
    /// Costs are rounded to the nearest unit, which over n layers is off by n / 2 at most; that much is added to the
    /// capacity, so that a budget which some choice meets exactly is met. What exceeds the budget by less than a rounding is
    /// for the caller to see.
    init(averageBits: Double, of problem: AllocationProblem) {
        let most = Double(problem.candidates.reduce(1) { $0 + $1.weights }) * 16
        let unitsPerBit = pow(2, (52 - log2(most)).rounded(.down))
        costs = { weights, width in Int((width.bits * Double(weights) * unitsPerBit).rounded()) }
        let fixed =
            Double(problem.timeBits) + BitWidth.firstAndLast.bits * Double(problem.fixed.values.reduce(0, +))
        let left = (averageBits * Double(problem.weightCount) - fixed) * unitsPerBit
        // Beyond any choice's need, and still an Int.
        capacity = Int(min(max(left, -1e17), 1e17).rounded(.down)) + (problem.candidates.count + 1) / 2 + 1
    }

    /// A meter for the payload of a packed file.
    ///
    /// - Throws: `AllocationError.table`, `.sizeWithoutInventory`.
    init(
        storedBytes: Int, of problem: AllocationProblem, _ storage: StorageModel
    ) throws(AllocationError) {
        costs = { weights, width in storage.codeBytes(weights, width.levels) }
        let narrow = problem.candidates.map { _ in BitWidth(1) }
        let codes = problem.candidates.reduce(0) { $0 + storage.codeBytes($1.weights, BitWidth(1).levels) }
        capacity = storedBytes - (try problem.storedBytes(narrow, storage) - codes)
    }

    func cost(_ weights: Int, _ width: BitWidth) -> Int { costs(weights, width) }
}
