// SPDX-License-Identifier: Apache-2.0
// Spearman's rank correlation: does one measure order layers as another does? Pearson's is in Recipes.

import Recipes

/// Spearman's ρ: Pearson's r of the ranks, equal values sharing the mean of their ranks.
///
/// - Parameters:
///   - xs: one sample, free of NaN.
///   - ys: the other, as long.
/// - Returns: ρ in `-1...1`; nil where a sample is constant or has fewer than two values.
/// - Precondition: `xs.count == ys.count`.
public func spearmanCorrelation(_ xs: [Double], _ ys: [Double]) -> Double? {
    pearsonCorrelation(ranks(of: xs), ranks(of: ys))
}

/// The ranks of `values`, from 1; equal values share the mean of their ranks.
func ranks(of values: [Double]) -> [Double] {
    let order = values.indices.sorted { values[$0] < values[$1] }
    var ranks = [Double](repeating: 0, count: values.count)
    var first = 0
    while first < order.count {
        var last = first
        while last + 1 < order.count, values[order[last + 1]] == values[order[first]] { last += 1 }
        for position in first...last { ranks[order[position]] = Double(first + last) / 2 + 1 }
        first = last + 1
    }
    return ranks
}
