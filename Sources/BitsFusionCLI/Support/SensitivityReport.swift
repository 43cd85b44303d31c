// SPDX-License-Identifier: Apache-2.0
// A sensitivity table for people: the most sensitive layers, and the findings that the paper reports of its own.

import BitsFusion
import Foundation

/// The findings of one analysis as text.
struct SensitivityReport {
    private let table: SensitivityTable
    /// Layers shown.
    private static let shown = 10

    init(_ table: SensitivityTable) { self.table = table }

    /// Prints the table of layers, the correlations and the share of symmetric layers.
    func print() {
        printLayers()
        printCorrelations()
        if let share = table.symmetricShare() {
            Output.line("")
            Output.line(
                String(
                    format: "Weights with skewness within [-0.5, 0.5]: %.1f %% of %d layers", 100 * share,
                    table.layers.count))
        }
    }

    private func printLayers() {
        let layers = table.mostSensitiveLayers(Self.shown)
        guard let first = layers.first else { return }
        let widths = first.bits.keys.sorted()
        let hasDrops = layers.contains { $0.bits.values.contains { $0.clipDrop != nil } }
        var text = TextTable(
            ["most sensitive layers", "weights", "skewness"] + widths.map { "MSE@\($0)" }
                + (hasDrops ? widths.map { "CLIP drop@\($0)" } : []))
        for layer in layers {
            let measures = widths.map { layer.bits[$0] }
            text.add(
                [layer.path.rawValue, "\(layer.weights)", String(format: "%.2f", layer.skewness)]
                    + measures.map { format($0?.mse, "%.3e") }
                    + (hasDrops ? measures.map { format($0?.clipDrop, "%.4f") } : []))
        }
        text.print()
    }

    private func printCorrelations() {
        guard !table.correlations.isEmpty else { return }
        Output.line("")
        var text = TextTable(["correlation over layers", "r", "layers"])
        for row in table.correlations {
            text.add(["\(row.x) – \(row.y)", String(format: "%.3f", row.pearson), "\(row.layers)"])
        }
        text.print()
    }

    private func format(_ value: Double?, _ pattern: String) -> String {
        value.map { String(format: pattern, $0) } ?? "–"
    }
}
