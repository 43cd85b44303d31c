// SPDX-License-Identifier: Apache-2.0
// The sensitivity of every width that a layer may get, those beyond the measured ones included.

import Recipes

/// By candidate, the sensitivities of its widths.
///
/// Widths above the widest measured one have a quarter of the sensitivity for each bit more: a balanced grid of 2^b + 1 levels
/// over the same range has a step of range / 2^b, and the squared error of rounding is a twelfth of the squared step.
/// Widths that are neither measured nor above all measured ones are not to be had.
struct SensitivityByBits {
    /// By candidate, by width.
    private let sensitivities: [[BitWidth: Double]]
    /// What the first and last layer do at their 8 bits, where that was measured.
    let fixed: Double
    /// By candidate, the widest width that was measured.
    private let measured: [BitWidth]

    /// - Throws: `AllocationError.unmeasuredLayer` for a candidate without any measurement; `.missingSensitivity` for one whose
    ///   measurement lacks the sensitivity; `.sensitivitiesTooLarge`.
    init(_ problem: AllocationProblem, _ sensitivity: SensitivityFunction) throws(AllocationError) {
        var (all, widest) = ([[BitWidth: Double]](), [BitWidth]())
        for candidate in problem.candidates {
            var own: [BitWidth: Double] = [:]
            for (width, measure) in candidate.measures.sorted(by: { $0.key < $1.key }) {
                guard let value = sensitivity(measure) else {
                    throw .missingSensitivity(path: candidate.path, width: width, measure: sensitivity.measure)
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
        (sensitivities, measured) = (all, widest)
        fixed = problem.fixedScores.reduce(0) { $0 + (sensitivity($1) ?? 0) }
        let most = all.reduce(abs(fixed)) { $0 + ($1.values.map { abs($0) }.max() ?? 0) }
        guard most.isFinite, sensitivity.isFinite else { throw .sensitivitiesTooLarge }
    }

    /// The widths of candidate `index`, narrowest first, with their sensitivities.
    func widths(of index: Int) -> [(width: BitWidth, sensitivity: Double)] {
        sensitivities[index].sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Whether the sensitivity was extrapolated.
    func isExtrapolated(_ index: Int, _ width: BitWidth) -> Bool { width > measured[index] }

    /// What the widths and the fixed layers do together, if sensitivities add up; nil where one of them has no sensitivity.
    func sum(_ widths: [BitWidth]) -> Double? {
        var sum = fixed
        for (own, width) in zip(sensitivities, widths) {
            guard let sensitivity = own[width] else { return nil }
            sum += sensitivity
        }
        return sum
    }
}
