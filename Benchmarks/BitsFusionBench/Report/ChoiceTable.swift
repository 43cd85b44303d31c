// SPDX-License-Identifier: Apache-2.0
// Whether the library chooses the fastest way: its choice against each way that it could have taken.

/// The choices of a run.
struct ChoiceTable {
    private let rows: [BenchmarkRow]

    init(_ rows: [BenchmarkRow]) { self.rows = rows.filter { $0.choice != nil } }

    /// How much longer the choice takes than the fastest way, as a share of the latter; below 0 where measurements
    /// scatter and the choice is the fastest.
    static func excess(_ choice: ChoiceRecord) -> Double? {
        choice.ways.map(\.record.statistics.median).min().map { choice.chosen.statistics.median / $0 - 1 }
    }

    /// One line per case; none without a choice.
    var lines: [String] {
        guard !rows.isEmpty else { return [] }
        let width = rows.map(\.name.count).max() ?? 0
        let head = "choice of algorithms, median ms, and what the choice takes more than the fastest:"
        return ["", head]
            + rows.compactMap { row in
                guard let choice = row.choice else { return nil }
                let ways = choice.ways.map { way in
                    "\(way.name) \(Format.milliseconds(way.record.statistics.median))"
                        + (way.difference.largest <= choice.tolerance ? "" : " FAIL")
                }
                let name = row.name + String(repeating: " ", count: width - row.name.count)
                let excess = Self.excess(choice).map { Format.percent(max($0, 0)) } ?? "unknown"
                return "  \(name)  chosen \(Format.milliseconds(choice.chosen.statistics.median)); "
                    + ways.joined(separator: ", ") + "; +\(excess)"
            }
    }
}
