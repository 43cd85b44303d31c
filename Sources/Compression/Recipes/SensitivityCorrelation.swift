// SPDX-License-Identifier: Apache-2.0
// Correlations of the scores of a sensitivity analysis over the layers: the paper's two tables of findings (arXiv
// 2406.04333, section 3.2), MSE with the other metrics at each bit width, and each metric between bit widths.
// Pearson's and Spearman's coefficients are defined at the end of the file.

/// The correlation of two scores over the layers of a table.
public struct SensitivityCorrelation: Hashable, Codable, Sendable {
    /// One metric at one bit width.
    public typealias Side = (metric: SensitivityMetric, bits: BitWidth)

    /// The two sides as `metric@bits`, such as `mse@1`.
    public var x, y: String
    /// Pearson's r, in `-1...1`.
    public var pearson: Double
    /// Spearman's rho, in `-1...1`.
    public var spearman: Double?
    /// The number of layers with both scores.
    public var layers: Int

    /// Records one correlation.
    public init(x: String, y: String, pearson: Double, spearman: Double? = nil, layers: Int) {
        self.x = x
        self.y = y
        self.pearson = pearson
        self.spearman = spearman
        self.layers = layers
    }

    /// The pairs of metrics that are compared at each bit width: MSE with each other one, as in the paper, and the
    /// noise error with its prediction from gradients.
    public static let metricPairs: [(SensitivityMetric, SensitivityMetric)] =
        SensitivityMetric.allCases.filter { $0 != .mse }.map { (.mse, $0) } + [(.noise, .fisher)]

    /// The name of a side, such as `mse@1`.
    public static func name(of side: Side) -> String { "\(side.metric.rawValue)@\(side.bits)" }
}

extension SensitivityTable {
    /// The correlations that the paper reports, computed from `layers`: `metricPairs` at each bit width, then each
    /// metric with itself for each pair of bit widths. Pairs with fewer than three layers or with a constant side are
    /// left out.
    public func measuredCorrelations() -> [SensitivityCorrelation] {
        let measuredBits = Set(layers.flatMap(\.bits.keys)).sorted()
        var result: [SensitivityCorrelation] = []
        for bits in measuredBits {
            result += SensitivityCorrelation.metricPairs.compactMap { x, y in
                measuredCorrelation((x, bits), (y, bits))
            }
        }
        for metric in SensitivityMetric.allCases {
            for (index, bits) in measuredBits.enumerated() {
                result += measuredBits[(index + 1)...].compactMap { moreBits in
                    measuredCorrelation((metric, bits), (metric, moreBits))
                }
            }
        }
        return result
    }

    /// The entry of `correlations` for two sides; nil if there is none.
    public func correlation(
        _ x: SensitivityCorrelation.Side, _ y: SensitivityCorrelation.Side
    ) -> SensitivityCorrelation? {
        let names = (SensitivityCorrelation.name(of: x), SensitivityCorrelation.name(of: y))
        return correlations.first { ($0.x, $0.y) == names }
    }

    private func measuredCorrelation(
        _ x: SensitivityCorrelation.Side, _ y: SensitivityCorrelation.Side
    ) -> SensitivityCorrelation? {
        var xs: [Double] = []
        var ys: [Double] = []
        // In the order of the written table, so that rounding does not depend on the order of merged layers.
        for layer in layers.sorted(by: { $0.path < $1.path }) {
            guard let first = layer.bits[x.bits]?[x.metric], let second = layer.bits[y.bits]?[y.metric]
            else { continue }
            xs.append(first)
            ys.append(second)
        }
        guard xs.count >= 3, let pearson = pearsonCorrelation(xs, ys),
            let spearman = spearmanCorrelation(xs, ys)
        else { return nil }
        return SensitivityCorrelation(
            x: SensitivityCorrelation.name(of: x), y: SensitivityCorrelation.name(of: y), pearson: pearson,
            spearman: spearman, layers: xs.count)
    }
}

// MARK: Coefficients

/// Pearson's r of two samples of equal length: covariance over the product of the standard deviations.
///
/// - Returns: r in `-1...1`; nil if a sample is constant or has fewer than two values, or if squares overflow.
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

/// Spearman's rho: Pearson's r of the ranks, equal values sharing the mean of their ranks.
///
/// - Parameters:
///   - xs: one sample, without NaN.
///   - ys: the other one, of the same length.
/// - Returns: rho in `-1...1`; nil if a sample is constant or has fewer than two values.
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
