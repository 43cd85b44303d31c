// SPDX-License-Identifier: Apache-2.0
// Comparison of the selected algorithm with its alternatives.

/// The selected algorithms of a run.
struct ChoiceTable {
    private let rows: [BenchmarkRow]

    init(_ rows: [BenchmarkRow]) { self.rows = rows.filter { $0.choice != nil } }

    /// Excess of the time of the selected algorithm over the fastest alternative, relative to the latter; can be below
    /// 0 because of measurement noise.
    static func excess(_ choice: ChoiceRecord) -> Double? {
        choice.ways.map(\.record.statistics.median).min().map { choice.selected.statistics.median / $0 - 1 }
    }

    /// One line per case with alternatives.
    var lines: [String] {
        guard !rows.isEmpty else { return [] }
        let width = rows.map(\.name.count).max() ?? 0
        let head = "selected algorithms, median ms, and excess over the fastest:"
        return ["", head]
            + rows.compactMap { row in
                guard let choice = row.choice else { return nil }
                let ways = choice.ways.map { way in
                    "\(way.name) \(Format.milliseconds(way.record.statistics.median))"
                        + (way.difference.largest <= choice.tolerance ? "" : " FAIL")
                }
                let name = row.name + String(repeating: " ", count: width - row.name.count)
                let excess = Self.excess(choice).map { Format.percent(max($0, 0)) } ?? "unknown"
                return "  \(name)  chosen \(Format.milliseconds(choice.selected.statistics.median)); "
                    + ways.joined(separator: ", ") + "; +\(excess)"
            }
    }
}
