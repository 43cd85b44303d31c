// SPDX-License-Identifier: Apache-2.0
// The table of scores: what `evaluate` prints and writes, and `demo` puts into its report.

import BitsFusion
import Foundation
import ShapesWorld

/// One row: a model with its scores and its size.
struct EvaluatedModel: Codable {
    let model: String
    let score: ModelScore
    let size: ModelSize
    /// Its images against those of the table's first model; nil for that one.
    var paired: PairedDifference?
}

/// Rows of one evaluation.
struct ScoreTable: Codable {
    let options: EvaluationOptions
    /// The model whose noise predictions are the yardstick.
    let reference: String
    let rows: [EvaluatedModel]

    private static let header = [
        "model", "overall", "±", "single", "two", "count", "colors", "position", "attrib.", "CLIP", "Fréchet",
        "noise error", "avg bits", "bytes", "s/image",
    ]

    /// As a document: indented JSON with sorted keys.
    func encoded() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self)
    }

    /// For a terminal.
    var text: TextTable {
        var table = TextTable(Self.header)
        for row in rows { table.add(cells(row)) }
        return table
    }

    /// Each model against the first, image by image; empty where there is only one.
    var pairedLines: [String] {
        guard let first = rows.first else { return [] }
        return rows.compactMap { row in
            guard let paired = row.paired else { return nil }
            let parts =
                [describe("overall", paired.compositional)]
                + (paired.clip.map { [describe("CLIP", $0)] } ?? [])
            return "\(row.model) against \(first.model), \(paired.compositional.count) images in pairs: "
                + parts.joined(separator: "; ")
        }
    }

    private func describe(_ name: String, _ difference: MeanEstimate) -> String {
        let sign = difference.mean < 0 ? "" : "+"
        return "\(name) \(sign)\(format(difference.mean, 4)) ± \(format(difference.standardError, 4)) "
            + (PairedDifference.isSignificant(difference) ? "(significant)" : "(not significant)")
    }

    /// For a report.
    var markdown: String {
        let lines =
            [Self.header, ["---"] + Self.header.dropFirst().map { _ in "---:" }] + rows.map(cells)
        return lines.map { "| " + $0.joined(separator: " | ") + " |" }.joined(separator: "\n")
    }

    private func cells(_ row: EvaluatedModel) -> [String] {
        let score = row.score
        var shares: [String: Double] = [:]
        for family in score.families { shares[family.name] = family.score }
        let families = [
            PromptFamily.singleObject, .twoObjects, .counting, .colors, .position, .colorAttribution,
        ]
        return [row.model, format(score.compositional, 3), format(score.compositionalStandardError, 3)]
            + families.map { format(shares[$0.rawValue], 2) }
            + [
                format(score.clipScore?.mean, 3), format(score.frechetDistance, 2),
                format(score.noiseError, 5),
                format(row.size.averageBits, 3), "\(row.size.packedBytes)",
                format(score.secondsPerImage, 3),
            ]
    }

    private func format(_ value: Double?, _ digits: Int) -> String {
        value.map { String(format: "%.\(digits)f", $0) } ?? "–"
    }
}
