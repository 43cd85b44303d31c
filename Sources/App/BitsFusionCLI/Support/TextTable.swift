// SPDX-License-Identifier: Apache-2.0
// Tables for people: columns as wide as their widest cell, numbers to the right.

/// Rows of text in aligned columns.
struct TextTable {
    enum Alignment { case left, right }

    private let header: [String]
    private let alignments: [Alignment]
    private var rows: [[String]] = []

    /// A table with a heading for every column; columns without an alignment are aligned to the right.
    init(_ header: [String], alignments: [Alignment] = [.left]) {
        self.header = header
        self.alignments = alignments
    }

    /// Adds a row; missing cells are empty.
    mutating func add(_ cells: [String]) {
        precondition(cells.count <= header.count, "table: \(cells.count) cells for \(header.count) columns")
        rows.append(cells)
    }

    /// The lines, the heading first, without trailing spaces.
    var lines: [String] {
        let all = [header] + rows
        let widths = header.indices.map { column in
            all.compactMap { $0.count > column ? $0[column].count : nil }.max() ?? 0
        }
        return all.map { row in
            let cells = row.enumerated().map { column, cell in
                let space = String(repeating: " ", count: widths[column] - cell.count)
                let alignment = column < alignments.count ? alignments[column] : .right
                return alignment == .left ? cell + space : space + cell
            }
            var line = cells.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line
        }
    }

    func print() {
        for line in lines { Output.line(line) }
    }
}
