// SPDX-License-Identifier: Apache-2.0
// How the measures of a sensitivity analysis go together over the layers: the paper's two tables of findings (arXiv
// 2406.04333, section 3.2), MSE against the other measures at each width, and each measure between widths.

/// The correlation of two measures over the layers of a table.
public struct SensitivityCorrelation: Hashable, Codable, Sendable {
    /// One measure at one width.
    public typealias Side = (metric: SensitivityMetric, width: BitWidth)

    /// The measures, as `metric@width`, such as `mse@1`.
    public var x, y: String
    /// Pearson's r, in `-1...1`.
    public var pearson: Double
    /// Spearman's ρ, in `-1...1`; nil in tables of earlier versions.
    public var spearman: Double?
    /// The number of layers that have both measures.
    public var layers: Int

    /// Records one correlation.
    public init(x: String, y: String, pearson: Double, spearman: Double? = nil, layers: Int) {
        self.x = x
        self.y = y
        self.pearson = pearson
        self.spearman = spearman
        self.layers = layers
    }

    /// The pairs of measures that are compared at each width: the paper's MSE with each other one, and the prediction
    /// from gradients with what it predicts.
    public static let metricPairs: [(SensitivityMetric, SensitivityMetric)] =
        SensitivityMetric.allCases.filter { $0 != .mse }.map { (.mse, $0) } + [(.noise, .fisher)]

    /// What a measure at a width is called, such as `mse@1`.
    public static func name(of side: Side) -> String { "\(side.metric.rawValue)@\(side.width)" }
}

extension SensitivityTable {
    /// The correlations that the paper reports, worked out from `layers`: `metricPairs` at each width, then each
    /// measure with itself for each pair of widths. A pair that fewer than three layers have, or of which one side is
    /// constant, has no correlation and is left out.
    public func measuredCorrelations() -> [SensitivityCorrelation] {
        let widths = Set(layers.flatMap(\.bits.keys)).sorted()
        var result: [SensitivityCorrelation] = []
        for width in widths {
            result += SensitivityCorrelation.metricPairs.compactMap { x, y in
                measuredCorrelation((x, width), (y, width))
            }
        }
        for metric in SensitivityMetric.allCases {
            for (index, width) in widths.enumerated() {
                result += widths[(index + 1)...].compactMap { wider in
                    measuredCorrelation((metric, width), (metric, wider))
                }
            }
        }
        return result
    }

    /// The entry of `correlations` for two measures; nil where there is none.
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
        // In the order of the written table, so that sums round alike however the layers came together.
        for layer in layers.sorted(by: { $0.path < $1.path }) {
            guard let first = layer.bits[x.width]?[x.metric], let second = layer.bits[y.width]?[y.metric]
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
