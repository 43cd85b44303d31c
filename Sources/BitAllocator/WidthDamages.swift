// SPDX-License-Identifier: Apache-2.0
// The damage of every width that a layer may get, those beyond the measured ones included.

import Recipes

/// By candidate, the damages of its widths.
///
/// Widths above the widest measured one have a quarter of the damage for each bit more: a balanced grid of 2^b + 1 levels
/// over the same range has a step of range / 2^b, and the squared error of rounding is a twelfth of the squared step.
/// Widths that are neither measured nor above all measured ones are not to be had.
struct WidthDamages {
    /// By candidate, by width.
    private let damages: [[BitWidth: Double]]
    /// What the first and last layer do at their 8 bits, where that was measured.
    let fixed: Double
    /// By candidate, the widest width that was measured.
    private let measured: [BitWidth]

    /// - Throws: `AllocationError.unmeasuredLayer` for a candidate without any measurement; `.missingDamage` for one whose
    ///   measurement lacks the damage; `.damagesTooLarge`.
    init(_ problem: AllocationProblem, _ damage: DamageFunction) throws(AllocationError) {
        var (all, widest) = ([[BitWidth: Double]](), [BitWidth]())
        for candidate in problem.candidates {
            var own: [BitWidth: Double] = [:]
            for (width, measure) in candidate.measures.sorted(by: { $0.key < $1.key }) {
                guard let value = damage(measure) else {
                    throw .missingDamage(path: candidate.path, width: width, measure: damage.measure)
                }
                own[width] = value
            }
            guard let last = own.keys.max(), var value = own[last] else {
                throw .unmeasuredLayer(path: candidate.path, widths: BitWidth.all)
            }
            for width in BitWidth.all where width > last {
                value /= 4
                own[width] = value
            }
            all.append(own)
            widest.append(last)
        }
        (damages, measured) = (all, widest)
        fixed = problem.fixedMeasures.reduce(0) { $0 + (damage($1) ?? 0) }
        let most = all.reduce(abs(fixed)) { $0 + ($1.values.map { abs($0) }.max() ?? 0) }
        guard most.isFinite, damage.isFinite else { throw .damagesTooLarge }
    }

    /// The widths of candidate `index`, narrowest first, with their damages.
    func widths(of index: Int) -> [(width: BitWidth, damage: Double)] {
        damages[index].sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Whether the damage was extrapolated.
    func isExtrapolated(_ index: Int, _ width: BitWidth) -> Bool { width > measured[index] }

    /// What the widths and the fixed layers do together, if damages add up; nil where one of them has no damage.
    func sum(_ widths: [BitWidth]) -> Double? {
        var sum = fixed
        for (own, width) in zip(damages, widths) {
            guard let damage = own[width] else { return nil }
            sum += damage
        }
        return sum
    }
}
