// SPDX-License-Identifier: Apache-2.0
// Sensitivity table + budget -> recipe: part 3 of the paper's Algorithm 1 (BitsFusion, arXiv 2406.04333).

import Foundation
import Recipes

/// Chooses the bits of every layer of `table`.
///
/// `threshold` returns the largest average that the paper's rule reaches within the budget. `optimal` returns the
/// smallest total quantization error, with a proof; `entropy` does, too, where weights cost the entropy of their codes
/// and grids may have dead zones. The result depends on the table, the budget and the options only, not on the order of
/// the table's layers.
///
/// - Parameters:
///   - table: the measurements of the quantized layers.
///   - budget: the limit; bonus bits, 8-bit layers and time features count. A budget larger than the method can use is
///     accepted.
///   - method: how bits are chosen.
///   - options: eta, allocation metric, bonus, pins and storage model.
/// - Returns: the recipe, its predicted error and the bounds of useful budgets.
/// - Throws: `AllocationError.infeasible` (`…Size`, `…PSNR`) if no recipe meets the budget; `.invalidBudget`,
///   `.invalidSteps`, `.invalidEta`; `.pattern`, `.pinnedNothing`; `.unmeasuredLayer`, `.missingScore`,
///   `.missingRates`, `.scoresTooLarge`; `.sizeWithoutInventory`, `.psnrNeedsImages`, `.noImages`; `.table`.
/// - Complexity: O(n log n) for n layers; in practice for the exact methods too.
public func allocateBits(
    _ table: SensitivityTable, budget: BitBudget, method: AllocationMethod = .optimal,
    options: AllocationOptions = AllocationOptions()
) throws(AllocationError) -> BitAllocation {
    var options = options
    if case .psnr = budget.limit { options.metric = options.metric ?? .mse }
    return try Allocator(table, budget.timeFeatures, options, method).allocation(budget.limit)
}

/// The result of an allocation.
public struct BitAllocation: Equatable, Sendable {
    /// The bits and dead zones of every layer, with `averageBits`, method, metric, cached steps and model;
    /// `storedBytes` if the table has an inventory.
    public var recipe: BitRecipe
    /// The average of `recipe`, in bits.
    public let averageBits: Double
    /// The same average with the entropy of the codes before training in place of log2(levels), which `entropy` limits.
    /// The first and last layer count as in `averageBits`. nil for a table without rate-distortion curves.
    public let entropyBits: Double?
    /// The smallest and the largest useful budget, in the budget's unit (bits, bytes or dB).
    public let attainable: ClosedRange<Double>
    /// M: the metric by which bits were chosen.
    public let metric: AllocationMetric
    /// The total quantization error of the recipe by `metric`: the sum of the errors of single layers. nil if a layer
    /// has no measurement from which its error follows.
    public let predictedError: Double?
    /// For `optimal` and `entropy`: a lower bound of `predictedError` over all recipes within the budget (for a PSNR
    /// budget: of `averageBits`). The recipe is proven optimal if both are equal.
    public let lowerBound: Double?
    /// For `threshold`: S_o. A layer gets the fewest bits with a sensitivity below it.
    public let threshold: Double?
    /// The bonus bits of the layers with the largest CLIP-score drops.
    public let bonus: ClipBonus
    /// Layers whose error was assumed, because it is beyond the measured ones; see `LayerErrors` and `LayerChoice`.
    public let extrapolated: [LayerID]
    /// Whether the table has an inventory. Without one the listed layers count as the whole model, and neither time
    /// features nor stored bytes are counted.
    public let countsWholeModel: Bool

    /// The PSNR in dB of images with the mean squared error `predictedError`; nil for other metrics.
    public var predictedPSNR: Double? {
        guard metric == .mse, let predictedError, predictedError > 0 else { return nil }
        return -10 * log10(predictedError)
    }
}

/// Solves all budgets for one table, method and set of options.
struct Allocator {
    let table: SensitivityTable
    let timeFeatures: TimeFeatureStorage
    let options: AllocationOptions
    let method: AllocationMethod
    let problem: AllocationProblem
    let errorFunction: ErrorFunction
    /// nil if a layer has no error and the method does not need one.
    let errors: LayerErrors?

    /// - Throws: `AllocationError`, as `allocateBits`, except for the budget's cases.
    init(
        _ table: SensitivityTable, _ timeFeatures: TimeFeatureStorage, _ options: AllocationOptions,
        _ method: AllocationMethod
    ) throws(AllocationError) {
        guard options.eta.isFinite else { throw .invalidEta(options.eta) }
        (self.table, self.timeFeatures, self.options, self.method) = (table, timeFeatures, options, method)
        problem = try AllocationProblem(table, timeFeatures: timeFeatures, pins: options.pins)
        let comparedBits = method == .threshold ? ThresholdAllocation.candidateBits : BitWidth.all
        errorFunction = ErrorFunction(
            options.metric ?? AllocationMetric(availableIn: problem.candidates, bits: comparedBits),
            problem.candidates)
        do {
            errors = try LayerErrors(problem, errorFunction)
        } catch {
            if method != .threshold || error == .scoresTooLarge { throw error }
            errors = nil
        }
    }

    /// The paper's rule for this table.
    func rule(_ bonus: ClipBonus) throws(AllocationError) -> ThresholdAllocation {
        try ThresholdAllocation(
            problem, errorFunction, eta: options.eta, bonus: bonus, maximumBits: options.maximumBits)
    }

    /// The exact solver for this table.
    func solver() throws(AllocationError) -> OptimalAllocation {
        let errors = try requiredErrors()
        let choices =
            method == .entropy
            ? try LayerChoice.byEntropy(problem, errorFunction, maximumBits: options.maximumBits)
            : try LayerChoice.byLevels(problem, errors, maximumBits: options.maximumBits)
        return OptimalAllocation(problem, choices, fixedError: errors.fixed)
    }

    /// The errors of all layers.
    ///
    /// - Throws: `AllocationError.unmeasuredLayer`, `.missingScore` if there are none.
    private func requiredErrors() throws(AllocationError) -> LayerErrors {
        if let errors { return errors }
        return try LayerErrors(problem, errorFunction)
    }

    var bonus: ClipBonus {
        method == .threshold && options.givesClipBonus ? ClipBonus(for: problem.candidates) : .disabled
    }

    func allocation(_ limit: BudgetLimit) throws(AllocationError) -> BitAllocation {
        try check(limit)
        switch method {
        case .threshold: return try byThreshold(limit)
        case .optimal, .entropy: return try exact(limit)
        }
    }

    // MARK: Methods

    private func byThreshold(_ limit: BudgetLimit) throws(AllocationError) -> BitAllocation {
        let bonus = bonus
        let rule = try rule(bonus)
        let threshold: Double?
        switch limit {
        case .averageBits(let average):
            threshold = try rule.threshold(within: average) { bits throws(AllocationError) in
                problem.averageBits(bits)
            }
        case .storedBytes(let bytes):
            threshold = try rule.threshold(within: bytes) { bits throws(AllocationError) in
                try problem.storedBytes(bits, options.storage)
            }
        case .psnr(let psnr):
            let errors = try requiredErrors()
            threshold = rule.threshold(errorAtMost: pow(10, -psnr / 10), errors)
        }
        let attainable = try attainable(limit, choices(rule.fewestBits), choices(rule.mostBits)) {
            errors?.total($0.map(\.bits))
        }
        guard let threshold else { throw infeasible(limit, attainable) }
        let bits = rule.bits(threshold: threshold)
        return try result(
            choices(bits), attainable, predictedError: errors?.total(bits), lowerBound: nil, threshold: threshold,
            bonus: bonus)
    }

    /// The choices of a method without dead zones.
    func choices(_ bits: [BitWidth]) -> [LayerChoice] {
        bits.indices.map { LayerChoice(bits[$0], isExtrapolated: errors?.isExtrapolated($0, bits[$0]) ?? false) }
    }

    private func exact(_ limit: BudgetLimit) throws(AllocationError) -> BitAllocation {
        let solver = try solver()
        let attainable = try attainable(limit, solver.cheapest, solver.best, solver.total)
        /// The lower bound of a solution's total error, fixed layers included.
        func bound(_ solution: OptimalAllocation.Solution) -> Double {
            solver.total(solution.choices) - (solution.value - solution.lowerBound)
        }
        let solution: OptimalAllocation.Solution?
        var lowerBound: Double?
        switch limit {
        case .averageBits(let average):
            var knapsack = solver.knapsack(averageBits: average)
            var found = solver.solve(knapsack)
            if let choices = found?.choices, problem.codedBits(choices) > average {
                // Rounded costs can exceed the budget by less than one unit per layer.
                knapsack.capacity -= problem.candidates.count + 4
                found = solver.solve(knapsack)
            }
            (solution, lowerBound) = (found, found.map(bound))
        case .storedBytes(let bytes):
            solution = solver.solve(try solver.knapsack(storedBytes: bytes, options.storage))
            lowerBound = solution.map(bound)
        case .psnr(let psnr):
            solution = solver.solve(errorAtMost: pow(10, -psnr / 10))
            lowerBound = solution.map {
                problem.codedBits($0.choices) - ($0.value - $0.lowerBound) / Double(problem.weightCount)
            }
        }
        guard let solution else { throw infeasible(limit, attainable) }
        return try result(
            solution.choices, attainable, predictedError: solver.total(solution.choices), lowerBound: lowerBound,
            threshold: nil, bonus: .disabled)
    }

    private func result(
        _ choices: [LayerChoice], _ attainable: ClosedRange<Double>, predictedError: Double?, lowerBound: Double?,
        threshold: Double?, bonus: ClipBonus
    ) throws(AllocationError) -> BitAllocation {
        BitAllocation(
            recipe: try recipe(choices), averageBits: problem.averageBits(choices.map(\.bits)),
            entropyBits: problem.entropyBits(choices), attainable: attainable,
            metric: errorFunction.metric, predictedError: predictedError, lowerBound: lowerBound,
            threshold: threshold, bonus: bonus,
            extrapolated: zip(problem.candidates, choices).filter(\.1.isExtrapolated).map(\.0.path),
            countsWholeModel: table.inventory != nil)
    }

    /// The recipe with its totals and its origin.
    private func recipe(_ choices: [LayerChoice]) throws(AllocationError) -> BitRecipe {
        var recipe = BitRecipe(
            layers: problem.layers(choices.map(\.bits)), averageBits: problem.averageBits(choices.map(\.bits)),
            method: method.rawValue, metric: errorFunction.metric.rawValue, model: table.model)
        recipe.entropyBits = problem.entropyBits(choices)
        for (candidate, choice) in zip(problem.candidates, choices) {
            guard let deadZone = choice.coded?.deadZone, deadZone > BitRecipe.deadZoneRange.lowerBound else { continue }
            recipe.deadZones[candidate.path] = deadZone
        }
        if table.inventory != nil {
            recipe.cachedSteps = timeFeatures.cachedSteps
            recipe.storedBytes = try problem.storedBytes(choices, options.storage)
        }
        return recipe
    }

    // MARK: Budgets

    private func check(_ limit: BudgetLimit) throws(AllocationError) {
        switch limit {
        case .averageBits(let average):
            guard average.isFinite, average > 0 else { throw .invalidBudget(average) }
        case .storedBytes(let bytes):
            guard bytes > 0 else { throw .invalidBudget(Double(bytes)) }
            guard table.inventory != nil else { throw .sizeWithoutInventory }
        case .psnr(let psnr):
            // A larger PSNR corresponds to squared errors below the resolution of Float32 images.
            guard psnr > 0, psnr <= 200 else { throw .invalidBudget(psnr) }
            let hasImages = problem.candidates.allSatisfy { $0.scores.values.contains { $0.mse != nil } }
            guard hasImages else { throw .noImages }
            guard errorFunction.metric == .mse else { throw .psnrNeedsImages(errorFunction.metric) }
        }
    }

    /// The useful budgets, in the limit's unit: those of the recipes with the fewest and the most bits.
    private func attainable(
        _ limit: BudgetLimit, _ fewest: [LayerChoice], _ most: [LayerChoice], _ total: ([LayerChoice]) -> Double?
    ) throws(AllocationError) -> ClosedRange<Double> {
        func value(_ choices: [LayerChoice]) throws(AllocationError) -> Double {
            switch limit {
            case .averageBits: return problem.codedBits(choices)
            case .storedBytes: return Double(try problem.storedBytes(choices, options.storage))
            case .psnr:
                guard let total = total(choices), total > 0 else { return 200 }
                return min(-10 * log10(total), 200)
            }
        }
        let (low, high) = (try value(fewest), try value(most))
        return min(low, high)...max(low, high)
    }

    private func infeasible(_ limit: BudgetLimit, _ attainable: ClosedRange<Double>) -> AllocationError {
        let (minimum, maximum) = (attainable.lowerBound, attainable.upperBound)
        switch limit {
        case .averageBits(let average):
            return .infeasible(requested: average, minimum: minimum, maximum: maximum)
        case .storedBytes(let bytes):
            return .infeasibleSize(requested: bytes, minimum: Int(minimum), maximum: Int(maximum))
        case .psnr(let psnr):
            return .infeasiblePSNR(requested: psnr, maximum: maximum)
        }
    }
}
