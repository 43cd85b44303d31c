// SPDX-License-Identifier: Apache-2.0
// Rows as text: columns of fixed width, printed when a case finishes, and the same cells as Markdown.

/// The table of a run.
struct RowTable {
    /// One column: heading, width in characters (negative: left-aligned), and the text of a row.
    private struct Column {
        let title: String
        let width: Int
        let cell: (BenchmarkRow) -> String
    }

    /// The text of an empty cell.
    private static let nothing = "-"
    private let columns: [Column]

    /// A table whose first column is wide enough for `names`.
    init(names: [String]) {
        let width = (names.map(\.count).max() ?? 0) + 1
        columns = [Column(title: "case", width: -width) { $0.name }] + Self.measures
    }

    private static var measures: [Column] {
        [
            Column(title: "ours ms", width: 8) { Format.milliseconds($0.ours.statistics.median) },
            Column(title: "min..max", width: 13) { spread($0.ours) },
            Column(title: "fp32 ms", width: 8) { twin($0, .float32) { Format.milliseconds($0.median) } },
            Column(title: "min..max", width: 13) { row in row[.float32].map { spread($0.record) } ?? nothing
            },
            Column(title: "bf16 ms", width: 8) { twin($0, .bfloat16) { Format.milliseconds($0.median) } },
            Column(title: "min..max", width: 13) { row in row[.bfloat16].map { spread($0.record) } ?? nothing
            },
            Column(title: "to fp32", width: 16) { ratio($0[.float32]) },
            Column(title: "to bf16", width: 16) { ratio($0[.bfloat16]) },
            Column(title: "rate", width: 11) { row in
                row.rate.map { Format.rate($0, row.operations == nil ? "B/s" : "FLOPS") } ?? nothing
            },
            Column(title: "share", width: 6) { $0.shareOfCeiling.map(Format.percent) ?? nothing },
            Column(title: "MB ours/fp32/bf16", width: 18) { memory($0) },
            Column(title: "difference fp32/bf16", width: 21) { row in
                TwinType.allCases.map { difference(row[$0]) }.joined(separator: "/")
            },
            Column(title: "others", width: 7) { row in
                (row.backgroundLoad.foreignLoad.map(Format.percent) ?? nothing)
                    + (row.backgroundLoad.isLoaded ? "!" : "") + (row.isAlternating ? "" : "*")
            },
        ]
    }

    private static func spread(_ record: SideRecord) -> String {
        Format.milliseconds(record.statistics.minimum) + ".." + Format.milliseconds(record.statistics.maximum)
    }

    private static func twin(
        _ row: BenchmarkRow, _ type: TwinType, _ text: (SampleStatistics) -> String
    ) -> String {
        row[type].map { text($0.record.statistics) } ?? nothing
    }

    /// "16500/-/21000 <=18000 pass".
    private static func memory(_ row: BenchmarkRow) -> String {
        let peaks = ([row.ours.peakBytes] + TwinType.allCases.map { row[$0]?.record.peakBytes })
            .map { $0.map(Format.megabytes) ?? nothing }.joined(separator: "/")
        guard let limit = row.peakLimit, let peak = row.ours.peakBytes else { return peaks }
        return "\(peaks) <=\(Format.megabytes(limit)) \(peak <= limit ? "pass" : "MISS")"
    }

    /// "0.38 <=0.40 pass".
    private static func ratio(_ record: TwinRecord?) -> String {
        guard let record else { return nothing }
        guard let target = record.target, let isOnTarget = record.isOnTarget else {
            return Format.ratio(record.ratio)
        }
        return
            "\(Format.ratio(record.ratio)) <=\(Format.ratio(target)) \(isOnTarget ? "pass" : "MISS")"
    }

    private static func difference(_ record: TwinRecord?) -> String {
        guard let record else { return nothing }
        return Format.difference(record.difference.largest) + (record.agrees ? "" : " FAIL")
    }

    var heading: String { line(columns.map(\.title)) }

    func line(_ row: BenchmarkRow) -> String { line(columns.map { $0.cell(row) }) }

    private func line(_ cells: [String]) -> String {
        var line = ""
        for (column, cell) in zip(columns, cells) {
            let space = String(repeating: " ", count: max(abs(column.width) - cell.count, 0))
            line += column.width < 0 ? cell + space : " " + space + cell
        }
        while line.last == " " { line.removeLast() }
        return line
    }

    /// A Markdown table.
    static func markdown(_ rows: [BenchmarkRow]) -> [String] {
        let columns = RowTable(names: []).columns
        let heads = columns.map(\.title).joined(separator: " | ")
        let rules = columns.map { $0.width < 0 ? "---" : "---:" }.joined(separator: "|")
        return ["| \(heads) |", "|\(rules)|"]
            + rows.map { row in "| " + columns.map { $0.cell(row) }.joined(separator: " | ") + " |" }
    }

    /// The meaning of the columns, printed below a table.
    static let legend = [
        "to fp32, to bf16: our median time divided by PyTorch's, and the target if there is one; lower is better.",
        "rate: operations per second, 2 per multiply-add, with direct convolutions, or minimum bytes read and written;",
        "share: of the ceiling above. MB: peak resident size. difference: relative to the largest value.",
        "others: processor time of other programs; with !, measure again when the machine is idle.",
        "*: sides ran one after the other, because both do not fit into memory.",
    ]
}
