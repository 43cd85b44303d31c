// SPDX-License-Identifier: Apache-2.0
// Sensitivity table + budget -> recipe: the third part of the paper's Algorithm 1 (BitsFusion, arXiv 2406.04333).

import Foundation
import Recipes

/// Chooses a width for every layer of `table`.
///
/// `threshold` reaches the largest average that the paper's rule allows within the budget, `optimal` the least sum of
/// sensitivities, with a proof. The same table, budget and options always give the same recipe, whatever the order of the table's
/// layers.
///
/// - Parameters:
///   - table: the measurements; layers that are not quantized are never in it.
///   - budget: bonus bits, 8-bit layers and time features included. More than the method can use is no error.
///   - method: how widths are chosen.
///   - options: eta, sensitivity measure, bonus, pins and container.
/// - Returns: the recipe and how it came about.
/// - Throws: `AllocationError.infeasible` (`…Size`, `…PSNR`) where no widths meet the budget; `.invalidBudget`, `.invalidSteps`, `.invalidEta`;
///   `.pattern`, `.pinnedNothing`; `.unmeasuredLayer`, `.missingSensitivity`,
///   `.sensitivitiesTooLarge`; `.sizeWithoutInventory`, `.psnrNeedsImages`; `.table`.
/// - Complexity: O(n log n) for n layers; `optimal` in practice too.
public func allocateBits(
    _ table: SensitivityTable, budget: BitBudget, method: AllocationMethod = .optimal,
    options: AllocationOptions = AllocationOptions()
) throws(AllocationError) -> BitAllocation {
    var options = options
    if case .psnr = budget.limit { options.metric = options.metric ?? .mse }
    return try Allocator(table, budget.timeFeatures, options, method).allocation(budget.limit)
}

/// A table and options, reduced to what every budget is worked out from.
struct Allocator {
    let table: SensitivityTable
    let timeFeatures: TimeFeatureStorage
    let options: AllocationOptions
    let method: AllocationMethod
    let problem: AllocationProblem
    let sensitivity: SensitivityFunction
    /// nil where the method does without and some layer has none.
    let sensitivities: SensitivityByBits?

    /// - Throws: `AllocationError`, as `allocateBits` but for the budget's.
    init(
        _ table: SensitivityTable, _ timeFeatures: TimeFeatureStorage, _ options: AllocationOptions,
        _ method: AllocationMethod
    ) throws(AllocationError) {
        guard options.eta.isFinite else { throw .invalidEta(options.eta) }
        (self.table, self.timeFeatures, self.options, self.method) = (table, timeFeatures, options, method)
        problem = try AllocationProblem(table, timeFeatures: timeFeatures, pins: options.pins)
        let widths = method == .threshold ? ThresholdAllocation.chosenBits : BitWidth.all
        sensitivity = SensitivityFunction(
            options.metric ?? AllocationMetric(availableIn: problem.candidates, widths: widths),
            problem.candidates)
        do {
            sensitivities = try SensitivityByBits(problem, sensitivity)
        } catch {
            if method == .optimal || error == .sensitivitiesTooLarge { throw error }
            sensitivities = nil
        }
    }

    /// The paper's rule for this table.
    func rule(_ bonus: ClipBonus) throws(AllocationError) -> ThresholdAllocation {
        try ThresholdAllocation(
            problem, sensitivity: sensitivity, eta: options.eta, bonus: bonus, maximumWidth: options.maximumWidth)
    }

    /// The exact solver for this table.
    func solver() throws(AllocationError) -> OptimalAllocation {
        try OptimalAllocation(
            problem, sensitivities: requiredSensitivities(), maximumWidth: options.maximumWidth)
    }

    /// The sensitivities of all widths.
    ///
    /// - Throws: `AllocationError.unmeasuredLayer`, `.missingSensitivity` where there are none.
    private func requiredSensitivities() throws(AllocationError) -> SensitivityByBits {
        if let sensitivities { return sensitivities }
        return try SensitivityByBits(problem, sensitivity)
    }

    var bonus: ClipBonus {
        method == .threshold && options.givesClipBonus ? ClipBonus(for: problem.candidates) : .disabled
    }

    func allocation(_ limit: BudgetLimit) throws(AllocationError) -> BitAllocation {
        try check(limit)
        switch method {
        case .threshold: return try byThreshold(limit)
        case .optimal: return try optimal(limit)
        }
    }

    // MARK: Methods

    private func byThreshold(_ limit: BudgetLimit) throws(AllocationError) -> BitAllocation {
        let bonus = bonus
        let rule = try rule(bonus)
        let threshold: Double?
        switch limit {
        case .averageBits(let bits):
            threshold = try rule.threshold(within: bits) { widths throws(AllocationError) in
                problem.averageBits(widths)
            }
        case .storedBytes(let bytes):
            threshold = try rule.threshold(within: bytes) { widths throws(AllocationError) in
                try problem.storedBytes(widths, options.storage)
            }
        case .psnr(let psnr):
            let sensitivities = try requiredSensitivities()
            threshold = rule.threshold(sensitivityAtMost: pow(10, -psnr / 10), sensitivities)
        }
        let attainable = try attainable(limit, rule.narrowest, rule.widest)
        guard let threshold else { throw infeasible(limit, attainable) }
        return try result(
            rule.widths(threshold: threshold), attainable, lowerBound: nil, threshold: threshold,
            bonus: bonus)
    }

    private func optimal(_ limit: BudgetLimit) throws(AllocationError) -> BitAllocation {
        let solver = try solver()
        let attainable = try attainable(limit, solver.narrowest, solver.best)
        let solution: OptimalAllocation.Solution?
        var lowerBound: Double?
        switch limit {
        case .averageBits(let bits):
            let meter = BudgetMeter(averageBits: bits, of: problem)
            var found = solver.solve(meter)
            if let widths = found?.widths, problem.averageBits(widths) > bits {
                // Within a rounding of the budget, but on its wrong side.
                found = solver.solve(meter, lessUnits: problem.candidates.count + 4)
            }
            (solution, lowerBound) = (found, found.flatMap(bound))
        case .storedBytes(let bytes):
            solution = solver.solve(
                try BudgetMeter(storedBytes: bytes, of: problem, options.storage))
            lowerBound = solution.flatMap(bound)
        case .psnr(let psnr):
            solution = solver.solve(sensitivityAtMost: pow(10, -psnr / 10))
            lowerBound = solution.map {
                problem.averageBits($0.widths) - ($0.value - $0.lowerBound) / Double(problem.weightCount)
            }
        }
        guard let solution else { throw infeasible(limit, attainable) }
        return try result(
            solution.widths, attainable, lowerBound: lowerBound, threshold: nil, bonus: .disabled)
    }

    /// The bound of a solution's sensitivity, fixed layers included.
    private func bound(_ solution: OptimalAllocation.Solution) -> Double? {
        sensitivities?.sum(solution.widths).map { $0 - (solution.value - solution.lowerBound) }
    }

    private func result(
        _ widths: [BitWidth], _ attainable: ClosedRange<Double>, lowerBound: Double?, threshold: Double?,
        bonus: ClipBonus
    ) throws(AllocationError) -> BitAllocation {
        BitAllocation(
            recipe: try recipe(widths), averageBits: problem.averageBits(widths), attainable: attainable,
            metric: sensitivity.measure, predictedError: sensitivities?.sum(widths), lowerBound: lowerBound,
            threshold: threshold, bonus: bonus,
            extrapolated: sensitivities.map { sensitivities in
                problem.candidates.indices.filter { sensitivities.isExtrapolated($0, widths[$0]) }
                    .map { problem.candidates[$0].path }
            } ?? [], countsWholeModel: table.inventory != nil)
    }

    /// The recipe of these widths, with all that is known of it.
    func recipe(_ widths: [BitWidth]) throws(AllocationError) -> BitRecipe {
        var recipe = BitRecipe(
            layers: problem.layers(widths), averageBits: problem.averageBits(widths),
            method: method.rawValue,
            metric: sensitivity.measure.rawValue, model: table.model)
        if table.inventory != nil {
            recipe.cachedSteps = timeFeatures.cachedSteps
            recipe.storedBytes = try problem.storedBytes(widths, options.storage)
        }
        return recipe
    }

    // MARK: Budgets

    private func check(_ limit: BudgetLimit) throws(AllocationError) {
        switch limit {
        case .averageBits(let bits):
            guard bits.isFinite, bits > 0 else { throw .invalidBudget(bits) }
        case .storedBytes(let bytes):
            guard bytes > 0 else { throw .invalidBudget(Double(bytes)) }
            guard table.inventory != nil else { throw .sizeWithoutInventory }
        case .psnr(let psnr):
            // Above this, squared errors are too small for a Float32 image to have.
            guard psnr > 0, psnr <= 200 else { throw .invalidBudget(psnr) }
            let hasImages = problem.candidates.allSatisfy { $0.measures.values.contains { $0.mse != nil } }
            guard sensitivity.measure == .mse, hasImages else { throw .psnrNeedsImages(sensitivity.measure) }
        }
    }

    /// The budgets, in the limit's unit, that lie between these widths'.
    private func attainable(
        _ limit: BudgetLimit, _ narrow: [BitWidth], _ wide: [BitWidth]
    ) throws(AllocationError) -> ClosedRange<Double> {
        func value(_ widths: [BitWidth]) throws(AllocationError) -> Double {
            switch limit {
            case .averageBits: return problem.averageBits(widths)
            case .storedBytes: return Double(try problem.storedBytes(widths, options.storage))
            case .psnr:
                guard let sum = sensitivities?.sum(widths), sum > 0 else { return 200 }
                return min(-10 * log10(sum), 200)
            }
        }
        let (low, high) = (try value(narrow), try value(wide))
        return min(low, high)...max(low, high)
    }

    private func infeasible(_ limit: BudgetLimit, _ attainable: ClosedRange<Double>) -> AllocationError {
        let (minimum, maximum) = (attainable.lowerBound, attainable.upperBound)
        switch limit {
        case .averageBits(let bits):
            return .infeasible(requested: bits, minimum: minimum, maximum: maximum)
        case .storedBytes(let bytes):
            return .infeasibleSize(requested: bytes, minimum: Int(minimum), maximum: Int(maximum))
        case .psnr(let psnr):
            return .infeasiblePSNR(requested: psnr, maximum: maximum)
        }
    }
}
