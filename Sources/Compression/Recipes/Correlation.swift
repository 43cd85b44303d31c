// SPDX-License-Identifier: Apache-2.0
// Pearson's and Spearman's correlations: do two measures go together, and do they order layers alike?

/// Pearson's r of two equally long samples: covariance over the product of the standard deviations.
///
/// - Returns: r in `-1...1`; nil where a sample is constant or has fewer than two values, or where squares overflow.
/// - Precondition: `xs.count == ys.count`.
public func pearsonCorrelation(_ xs: [Double], _ ys: [Double]) -> Double? {
    precondition(xs.count == ys.count, "pearsonCorrelation: \(xs.count) values against \(ys.count)")
    guard xs.count >= 2 else { return nil }
    let meanX = xs.reduce(0, +) / Double(xs.count)
    let meanY = ys.reduce(0, +) / Double(ys.count)
    var xx = 0.0
    var yy = 0.0
    var xy = 0.0
    for (x, y) in zip(xs, ys) {
        xx += (x - meanX) * (x - meanX)
        yy += (y - meanY) * (y - meanY)
        xy += (x - meanX) * (y - meanY)
    }
    guard xx > 0, yy > 0, xx.isFinite, yy.isFinite, xy.isFinite else { return nil }
    return max(-1, min(1, xy / (xx.squareRoot() * yy.squareRoot())))
}

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
private func ranks(of values: [Double]) -> [Double] {
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
