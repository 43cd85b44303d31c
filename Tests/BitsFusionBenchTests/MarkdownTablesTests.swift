// SPDX-License-Identifier: Apache-2.0
// Tables are placed between their markers; the rest of the document is unchanged.

import BitsFusion
import Foundation
import Testing

@testable import BitsFusionBench

@Suite struct MarkdownTablesTests {
    private static let document = """
        # Performance

        <!-- benchmark kernels -->
        old figures
        <!-- end of benchmark -->
        Between.
        <!-- benchmark train -->
        older figures
        <!-- end of benchmark -->
        """

    private func tables(_ rows: [BenchmarkRow]) -> MarkdownTables {
        let machine = MachineDescription(
            ceiling: MachineCeiling(operationsPerSecond: 5e11, bytesPerSecond: 5e10), twin: nil,
            restingBytes: nil, torchRestingBytes: nil)
        return MarkdownTables(
            BenchmarkReport(
                machine: machine, rows: rows, skipped: [SkippedCase(name: "other", reason: "why")]))
    }

    @Test("a run of one group replaces the tables of that group only")
    func replacement() throws {
        let made = try tables([sampleRow()]).replaced(in: Self.document, path: "p.md")
        #expect(made.contains("| case | 5.00 | 4.00..6.00 | 10.0 |"))
        #expect(!made.contains("old figures\n"))
        #expect(made.hasPrefix("# Performance\n\n<!-- benchmark kernels -->\n"))
        #expect(
            made.hasSuffix(
                "<!-- end of benchmark -->\nBetween.\n<!-- benchmark train -->\nolder figures\n"
                    + "<!-- end of benchmark -->"
            ))
        // A second replacement changes nothing.
        #expect(try tables([sampleRow()]).replaced(in: made, path: "p.md") == made)
    }

    @Test("a document without the markers of a group is an error with the marker")
    func noMarkers() throws {
        let error = BenchmarkError.noMarkers(path: "p.md", marker: "<!-- benchmark kernels -->")
        for document in ["", "<!-- benchmark kernels -->\nno end"] {
            #expect(throws: error) { try tables([sampleRow()]).replaced(in: document, path: "p.md") }
        }
    }

    @Test("Docs/Performance.md has markers for every group")
    func performanceDocument() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(
            contentsOf: root.appendingPathComponent("Docs/Performance.md"), encoding: .utf8)
        for group in BenchmarkGroup.allCases {
            #expect(text.contains(MarkdownTables.marker(group) + "\n"))
        }
    }
}
