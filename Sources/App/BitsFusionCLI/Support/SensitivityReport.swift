// SPDX-License-Identifier: Apache-2.0
// A sensitivity table as text: the most sensitive layers by each metric, sums over layer groups, and correlations next
// to the paper's.

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

    /// The tables, separated by empty lines.
    var lines: [String] {
        let parts = [
            mostSensitive, groups, betweenMetrics, betweenBits, [symmetry, absence].compactMap { $0 },
        ]
        return Array(parts.filter { !$0.isEmpty }.joined(separator: [""]))
    }

    /// Every layer that is among the ten most sensitive ones by some metric; its rank follows the score.
    private var mostSensitive: [String] {
        guard let bits = table.fewestBits else { return [] }
        let rankings = table.rankings
        // In the order of the first metric, then layers that only later metrics list.
        var paths: [LayerID] = []
        for path in rankings.flatMap(\.layers) where !paths.contains(path) { paths.append(path) }
        var lines = TextTable(
            ["most sensitive layers at \(text(bits))", "weights", "skewness"] + metrics.map(\.title))
        for path in paths {
            guard let layer = table.layers.first(where: { $0.path == path }) else { continue }
            let cells = rankings.map { ranking in
                let rank = ranking.layers.firstIndex(of: path).map { " (\($0 + 1))" } ?? ""
                // Padded so that scores with and without a rank are aligned.
                return number(layer.bits[bits]?[ranking.metric], ranking.metric)
                    + rank + String(repeating: " ", count: 5 - rank.count)
            }
            lines.add([path.rawValue, "\(layer.weights)", Numbers.fixed(layer.skewness, 2)] + cells)
        }
        return lines.lines
    }

    /// Sums and means by layer group at the fewest bits; for PSNR the mean alone.
    private var groups: [String] {
        guard let bits = table.fewestBits else { return [] }
        var header = ["layer group at \(text(bits))", "layers", "weights"]
        for metric in metrics { header += metric == .psnr ? ["PSNR mean"] : ["\(metric.title) sum", "mean"] }
        var lines = TextTable(header)
        for sum in table.sums {
            guard let totals = sum.bits[bits] else { continue }
            var cells = [sum.group.title, "\(sum.layers)", String(format: "%.1f %%", 100 * sum.weightShare)]
            for metric in metrics {
                let mean = number(totals[metric]?.mean, metric)
                cells += metric == .psnr ? [mean] : [number(totals[metric]?.sum, metric), mean]
            }
            lines.add(cells)
        }
        return lines.lines
    }

    /// The paper's first table: a row per bit width, a column per pair of metrics.
    private var betweenMetrics: [String] {
        let allBits = Set(table.layers.flatMap(\.bits.keys)).sorted()
        let pairs = SensitivityCorrelation.metricPairs.filter { x, y in
            allBits.contains { table.correlation((x, $0), (y, $0)) != nil }
        }
        guard !pairs.isEmpty else { return [] }
        var lines = TextTable(
            ["over layers: r, ρ (paper's |r|)"] + pairs.map { "\($0.title) – \($1.title)" })
        for bits in allBits
        where pairs.contains(where: { table.correlation(($0, bits), ($1, bits)) != nil }) {
            lines.add([text(bits)] + pairs.map { correlation(($0, bits), ($1, bits)) })
        }
        return lines.lines
    }

    /// The paper's second table: a row per metric, a column per pair of bit widths.
    private var betweenBits: [String] {
        let allBits = Set(table.layers.flatMap(\.bits.keys)).sorted()
        let pairs = allBits.enumerated().flatMap { index, bits in
            allBits[(index + 1)...].map { (bits, $0) }
        }.filter { a, b in metrics.contains { table.correlation(($0, a), ($0, b)) != nil } }
        guard !pairs.isEmpty else { return [] }
        var lines = TextTable(["between bit widths: r, ρ"] + pairs.map { "\($0) – \($1) bits" })
        for metric in metrics {
            lines.add([metric.title] + pairs.map { correlation((metric, $0), (metric, $1)) })
        }
        return lines.lines
    }

    private var symmetry: String? {
        table.symmetricShare().map {
            String(format: "weights with skewness within [-0.5, 0.5]: %.1f %%", 100 * $0)
                + " of \(table.layers.count) layers (paper: \(PublishedFindings.symmetricLayers))"
        }
    }

    /// Names the metrics of images that require a scorer and are missing.
    private var absence: String? {
        guard metrics.contains(.mse) else { return nil }
        let missing = [SensitivityMetric.perceptual, .clipDrop].filter { !metrics.contains($0) }
        guard !missing.isEmpty else { return nil }
        let names = missing.map { $0 == .clipDrop ? $0.title : "perceptual distance" }
        return "not measured: \(names.joined(separator: ", ")); requires a CLIP-proxy (--clip)"
    }

    private func correlation(_ x: SensitivityCorrelation.Side, _ y: SensitivityCorrelation.Side) -> String {
        guard let found = table.correlation(x, y) else { return "–" }
        return Numbers.fixed(found.pearson, 2)
            + (found.spearman.map { ", \(Numbers.fixed($0, 2))" } ?? "")
            + (PublishedFindings.correlation(x, y).map { " (\($0))" } ?? "")
    }

    private func text(_ bits: BitWidth) -> String { bits.rawValue == 1 ? "1 bit" : "\(bits) bits" }

    private func number(_ value: Double?, _ metric: SensitivityMetric) -> String {
        value.map { String(format: metric == .psnr ? "%.2f" : "%.2e", $0) } ?? "–"
    }
}

/// The findings of the paper on Stable Diffusion 1.5 (BitsFusion, arXiv:2406.04333, section 3.2), shown next to those
/// of an analysis: correlations over its layers, as absolute values, and the share of symmetric layers.
enum PublishedFindings {
    /// |r| of two scores over the layers, as text; nil if the paper has none. For the perceptual distance, there LPIPS,
    /// it reports 0.98 or more.
    static func correlation(
        _ x: SensitivityCorrelation.Side, _ y: SensitivityCorrelation.Side
    ) -> String? {
        switch (x.metric, x.bits.rawValue, y.metric, y.bits.rawValue) {
        case (.mse, 1, .psnr, 1), (.mse, 3, .psnr, 3): "0.87"
        case (.mse, 2, .psnr, 2): "0.88"
        case (.mse, 1...3, .perceptual, 1...3) where x.bits == y.bits: "≥0.98"
        case (.mse, 1, .clipDrop, 1): "0.73"
        case (.mse, 2, .clipDrop, 2): "0.47"
        case (.mse, 3, .clipDrop, 3): "0.54"
        case (.mse, 1, .mse, 2): "0.93"
        case (.mse, 1, .mse, 3): "0.77"
        default: nil
        }
    }

    /// The percentage of layers whose weights' skewness is within [-0.5, 0.5].
    static let symmetricLayers = "97 %"
}
