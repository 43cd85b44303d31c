// SPDX-License-Identifier: Apache-2.0
// Tables in a document that is otherwise written by hand. They are placed between markers and replaced by each run:
//
//     <!-- benchmark kernels -->
//     tables of the last run of that group
//     <!-- end of benchmark -->

/// Inserts the tables of a run into a document.
struct MarkdownTables {
    private let report: BenchmarkReport

    init(_ report: BenchmarkReport) { self.report = report }

    /// The line before the tables of a group.
    static func marker(_ group: BenchmarkGroup) -> String { "<!-- benchmark \(group.rawValue) -->" }
    private static let endMarker = "<!-- end of benchmark -->"

    /// `document` with new tables for each group with rows in the run.
    ///
    /// - Parameters:
    ///   - document: the text.
    ///   - path: its path, for the error.
    /// - Returns: the new text; text outside the markers is unchanged.
    /// - Throws: `BenchmarkError.noMarkers`.
    func replaced(in document: String, path: String) throws(BenchmarkError) -> String {
        var lines = document.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        for group in BenchmarkGroup.allCases where report.rows.contains(where: { $0.group == group }) {
            guard let start = lines.firstIndex(of: Self.marker(group)),
                let end = lines[start...].firstIndex(of: Self.endMarker)
            else { throw .noMarkers(path: path, marker: Self.marker(group)) }
            lines.replaceSubrange(start + 1..<end, with: section(group))
        }
        return lines.joined(separator: "\n")
    }

    private func section(_ group: BenchmarkGroup) -> [String] {
        let rows = report.rows.filter { $0.group == group }
        let names = Set(BenchmarkCase.all.filter { $0.group == group }.map(\.name))
        let skipped = report.skipped.filter { skipped in names.contains { skipped.name.hasPrefix($0) } }
        var lines = [""] + report.machine.lines.map { "- \($0)" } + [""] + RowTable.markdown(rows)
        if !skipped.isEmpty { lines += [""] + skipped.map { "- \($0.name): skipped: \($0.reason)" } }
        for part in [ChoiceTable(rows).lines, CurveTable(rows).lines] where !part.isEmpty {
            lines += ["", "```"] + part.dropFirst() + ["```"]
        }
        return lines + [""]
    }
}
