// SPDX-License-Identifier: Apache-2.0
// Sensitivity table + budget -> recipe: the third part of the paper's Algorithm 1 (BitsFusion, arXiv 2406.04333).

import Recipes

/// A recipe and how it came about.
public struct BitAllocation: Equatable, Sendable {
    /// The widths, with `averageBits`, the method's name, the cached steps and the model's name filled in;
    /// `storedBytes` too where the table has an inventory.
    public let recipe: BitRecipe
    /// The average of `recipe`, in bits, at most the budget.
    public let averageBits: Double
    /// The averages that any budget can lead to, in bits.
    public let attainable: ClosedRange<Double>
    /// The measure M that widths were chosen by.
    public let damage: DamageMeasure
    /// S_o: a layer has the narrowest width whose score is below it.
    public let threshold: Double
    /// What became of the bonus bits.
    public let bonus: ClipBonus
    /// Whether the table said what the whole model holds. Where it did not, the listed layers were taken for the whole
    /// model, and neither time features nor stored bytes were counted.
    public let countsWholeModel: Bool
}

/// Chooses a width for every layer of `table`, so that the average is the largest that the rule allows within `budget`.
///
/// The same table, budget and options always give the same recipe, whatever the order of the table's layers.
///
/// - Parameters:
///   - table: the measurements; layers that are not quantized are never in it.
///   - budget: the average bits, bonus bits, 8-bit layers and time features included. More than the rule can use is
///     no error.
///   - method: how widths are chosen.
///   - options: eta, damage measure, bonus and container.
/// - Returns: the recipe and how it came about.
/// - Throws: `AllocationError.infeasible` where the narrowest widths exceed the budget; `.invalidBudget`,
///   `.invalidSteps`, `.invalidEta`; `.unmeasuredLayer`,
///   `.missingDamage`; `.table`.
/// - Complexity: O(n log n) for n layers.
public func allocateBits(
    _ table: SensitivityTable, budget: BitBudget, method: AllocationMethod = .threshold,
    options: AllocationOptions = AllocationOptions()
) throws(AllocationError) -> BitAllocation {
    guard budget.averageBits.isFinite, budget.averageBits > 0 else {
        throw .invalidBudget(budget.averageBits)
    }
    guard options.eta.isFinite else { throw .invalidEta(options.eta) }
    let problem = try AllocationProblem(table, timeFeatures: budget.timeFeatures)
    let bonus = options.givesClipBonus ? ClipBonus(for: problem.candidates) : .disabled
    switch method {
    case .threshold:
        let damage =
            options.damage
            ?? DamageMeasure(availableIn: problem.candidates, widths: ThresholdAllocation.chosenWidths)
        let rule = try ThresholdAllocation(problem, damage: damage, eta: options.eta, bonus: bonus)
        let threshold = try rule.threshold(within: budget.averageBits)
        let widths = rule.widths(threshold: threshold)
        let averageBits = problem.averageBits(widths)
        var recipe = BitRecipe(
            layers: problem.layers(widths), averageBits: averageBits, method: method.rawValue,
            model: table.model)
        try countWholeModel(of: table, budget, options, into: &recipe)
        return BitAllocation(
            recipe: recipe, averageBits: averageBits, attainable: rule.attainable, damage: damage,
            threshold: threshold, bonus: bonus, countsWholeModel: table.inventory != nil)
    }
}

/// Fills in what only a table with an inventory tells: the steps whose time features are paid for, and the bytes.
private func countWholeModel(
    of table: SensitivityTable, _ budget: BitBudget, _ options: AllocationOptions,
    into recipe: inout BitRecipe
) throws(AllocationError) {
    guard let inventory = table.inventory else { return }
    recipe.cachedSteps = budget.timeFeatures.cachedSteps
    do {
        recipe.storedBytes = try options.storage.storedBytes(
            recipe: recipe, inventory: inventory, timeFeatures: budget.timeFeatures)
    } catch {
        throw .table(error)
    }
}
