// SPDX-License-Identifier: Apache-2.0
// A sensitivity table for people: the most sensitive layers by each measure, where in the UNet the sensitivity lies, and
// the correlations, beside what the paper reports.

import BitsFusion
import Foundation

/// The findings of one analysis as text.
struct SensitivityReport {
    private let table: SensitivityTable
    private let metrics: [SensitivityMetric]

    init(_ table: SensitivityTable) {
        self.table = table
        metrics = table.metrics
    }

    /// Prints everything.
    func print() { Output.line(lines.joined(separator: "\n")) }

    /// The tables, parted by empty lines.
    var lines: [String] {
        let parts = [
            mostSensitive, places, betweenMetrics, betweenWidths, [symmetry, absence].compactMap { $0 },
        ]
        return Array(parts.filter { !$0.isEmpty }.joined(separator: [""]))
    }

    /// Every layer that is among the ten most sensitive by some measure; its place there follows the value.
    private var mostSensitive: [String] {
        guard let width = table.fewestBits else { return [] }
        let rankings = table.rankings
        // By the measure that comes first, then those that only a later one finds sensitive.
        var paths: [LayerID] = []
        for path in rankings.flatMap(\.layers) where !paths.contains(path) { paths.append(path) }
        var text = TextTable(
            ["most sensitive layers at \(bits(width))", "weights", "skewness"] + metrics.map(\.title))
        for path in paths {
            guard let layer = table.layers.first(where: { $0.path == path }) else { continue }
            let cells = rankings.map { ranking in
                let rank = ranking.layers.firstIndex(of: path).map { " (\($0 + 1))" } ?? ""
                // Padded so that values stand below each other whether or not a rank follows.
                return number(layer.bits[width]?[ranking.metric], ranking.metric)
                    + rank + String(repeating: " ", count: 5 - rank.count)
            }
            text.add([path.rawValue, "\(layer.weights)", Numbers.fixed(layer.skewness, 2)] + cells)
        }
        return text.lines
    }

    /// Sums and means by place at the narrowest width; of PSNR only the mean says something.
    private var places: [String] {
        guard let width = table.fewestBits else { return [] }
        var header = ["sensitivity at \(bits(width)), by place", "layers", "weights"]
        for metric in metrics { header += metric == .psnr ? ["PSNR mean"] : ["\(metric.title) sum", "mean"] }
        var text = TextTable(header)
        for sum in table.sums {
            guard let totals = sum.bits[width] else { continue }
            var cells = [sum.group.title, "\(sum.layers)", String(format: "%.1f %%", 100 * sum.weightShare)]
            for metric in metrics {
                let mean = number(totals[metric]?.mean, metric)
                cells += metric == .psnr ? [mean] : [number(totals[metric]?.sum, metric), mean]
            }
            text.add(cells)
        }
        return text.lines
    }

    /// The paper's first table: a row per width, a column per pair of measures.
    private var betweenMetrics: [String] {
        let widths = Set(table.layers.flatMap(\.bits.keys)).sorted()
        let pairs = SensitivityCorrelation.metricPairs.filter { x, y in
            widths.contains { table.correlation((x, $0), (y, $0)) != nil }
        }
        guard !pairs.isEmpty else { return [] }
        var text = TextTable(
            ["over layers: r, ρ (paper's |r|)"] + pairs.map { "\($0.title) – \($1.title)" })
        for width in widths
        where pairs.contains(where: { table.correlation(($0, width), ($1, width)) != nil }) {
            text.add([bits(width)] + pairs.map { correlation(($0, width), ($1, width)) })
        }
        return text.lines
    }

    /// The paper's second table: a row per measure, a column per pair of widths.
    private var betweenWidths: [String] {
        let widths = Set(table.layers.flatMap(\.bits.keys)).sorted()
        let pairs = widths.enumerated().flatMap { index, width in
            widths[(index + 1)...].map { (width, $0) }
        }.filter { a, b in metrics.contains { table.correlation(($0, a), ($0, b)) != nil } }
        guard !pairs.isEmpty else { return [] }
        var text = TextTable(["between widths: r, ρ"] + pairs.map { "\($0) – \($1) bits" })
        for metric in metrics {
            text.add([metric.title] + pairs.map { correlation((metric, $0), (metric, $1)) })
        }
        return text.lines
    }

    private var symmetry: String? {
        table.symmetricShare().map {
            String(format: "weights with skewness within [-0.5, 0.5]: %.1f %%", 100 * $0)
                + " of \(table.layers.count) layers (paper: \(PublishedFindings.symmetricLayers))"
        }
    }

    /// Says of measures that need an encoder that they are absent, where images were compared.
    private var absence: String? {
        guard metrics.contains(.mse) else { return nil }
        let missing = [SensitivityMetric.perceptual, .clipDrop].filter { !metrics.contains($0) }
        guard !missing.isEmpty else { return nil }
        let names = missing.map { $0 == .clipDrop ? $0.title : "perceptual distance" }
        return "no \(names.joined(separator: ", no ")): measured only with a two-tower encoder (--clip)"
    }

    private func correlation(_ x: SensitivityCorrelation.Side, _ y: SensitivityCorrelation.Side) -> String {
        guard let found = table.correlation(x, y) else { return "–" }
        return Numbers.fixed(found.pearson, 2)
            + (found.spearman.map { ", \(Numbers.fixed($0, 2))" } ?? "")
            + (PublishedFindings.correlation(x, y).map { " (\($0))" } ?? "")
    }

    private func bits(_ width: BitWidth) -> String { width.rawValue == 1 ? "1 bit" : "\(width) bits" }

    private func number(_ value: Double?, _ metric: SensitivityMetric) -> String {
        value.map { String(format: metric == .psnr ? "%.2f" : "%.2e", $0) } ?? "–"
    }
}
