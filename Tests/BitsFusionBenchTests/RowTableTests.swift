// SPDX-License-Identifier: Apache-2.0
// The text of rows: ratios and targets, failures, and aligned columns.

import BitsFusion
import Testing

@testable import BitsFusionBench

@Suite struct RowTableTests {
    private func cells(_ row: BenchmarkRow) throws -> [String] {
        let lines = RowTable.markdown([row])
        return lines[lines.count - 1].split(separator: "|").map { String($0.drop { $0 == " " }.dropLast()) }
    }

    @Test("a row contains medians, ranges, ratio, rate, share, memory and difference")
    func contents() throws {
        #expect(
            try cells(sampleRow()) == [
                "case", "5.00", "4.00..6.00", "10.0", "10.0..10.0", "-", "-", "0.50", "-", "200 GFLOPS",
                "25%",
                "123/123/-", "0.0e+00/-", "1%",
            ])
    }

    @Test("a ratio passes at its target and misses above it")
    func targets() throws {
        #expect(try cells(sampleRow(target: 0.5)).contains("0.50 <=0.50 pass"))
        #expect(try cells(sampleRow(target: 0.49)).contains("0.50 <=0.49 MISS"))
    }

    @Test("a row with too large differences fails")
    func failure() throws {
        let far = try sampleRow(difference: 0.5)
        #expect(!far.agrees)
        #expect(try cells(far).contains("5.0e-01 FAIL/-"))
        #expect(try sampleRow(difference: 5e-5).agrees)
    }

    @Test("a memory limit passes at the limit and misses above it")
    func memory() throws {
        #expect(try cells(sampleRow(peakLimit: 123_000_000)).contains("123/123/- <=123 pass"))
        #expect(try cells(sampleRow(peakLimit: 122_000_000)).contains("123/123/- <=122 MISS"))
    }

    @Test("the selected algorithm is compared with the fastest, and an alternative with other results fails")
    func choice() throws {
        func record(_ difference: Double) throws -> ChoiceRecord {
            let same = ResultDifference(
                ["a": Tensor([1 + Float(difference)], shape: [1])], ["a": Tensor([1], shape: [1])],
                type: .float32)
            return ChoiceRecord(
                selected: try sampleRecord(6),
                ways: [
                    .init(name: "columns", record: try sampleRecord(9), difference: same),
                    .init(name: "winograd", record: try sampleRecord(5), difference: same),
                ], tolerance: 1e-4)
        }
        let row = try sampleRow(choice: record(0))
        #expect(row.agrees)
        #expect(
            ChoiceTable([try sampleRow(), row]).lines.last
                == "  case  chosen 6.00; columns 9.00, winograd 5.00; +20%")
        #expect(ChoiceTable([try sampleRow()]).lines.isEmpty)
        #expect(try !sampleRow(choice: record(0.5)).agrees)
    }

    @Test("a row with background load is marked")
    func disturbed() throws {
        #expect(try cells(sampleRow(isLoaded: true)).last == "1%!")
    }

    @Test("heading and rows have aligned columns")
    func alignment() throws {
        let table = RowTable(names: ["case", "a longer name"])
        let (heading, line) = (Array(table.heading), Array(table.line(try sampleRow())))
        // The last column is right-aligned in both.
        #expect(heading.count == line.count)
        // The first column is as wide as the longest name.
        let ours = try #require(table.heading.range(of: "ours ms"))
        let end = table.heading.distance(from: table.heading.startIndex, to: ours.upperBound)
        #expect(String(line[..<end]).hasSuffix(" 5.00") && end > "a longer name".count)
    }

    @Test("a curve contains the cost of one sample and the exponent of the growth")
    func curve() throws {
        func point(_ samples: Int, _ milliseconds: Double) throws -> BenchmarkRow {
            BenchmarkRow(
                name: "batch \(samples)", group: .train, ours: try sampleRecord(milliseconds), twins: [],
                operations: nil, bytes: nil, peakLimit: nil, shareOfCeiling: nil,
                backgroundLoad: BackgroundLoad(
                    foreignLoad: nil, idleLoad: nil, isLoaded: false, droppedRounds: 0),
                isAlternating: true, curve: CurvePoint(curve: "step", unit: "samples", count: samples),
                choice: nil)
        }
        let lines = CurveTable([try point(16, 32), try point(8, 16), try sampleRow()]).lines
        #expect(
            lines == [
                "", "step, ms per sample at 8, 16 samples:",
                "  ours: 2.00, 2.00; cost grows with the power 1.00 of the samples",
            ])
        #expect(CurveTable([try point(8, 16)]).lines.isEmpty)
    }

    @Test(
        "times have three significant figures and no exponent",
        arguments: [(0.0000123, "0.0123"), (0.00456, "4.56"), (0.0789, "78.9"), (1.23456, "1235"), (0, "0")])
    func milliseconds(seconds: Double, text: String) {
        #expect(Format.milliseconds(seconds) == text)
    }
}
