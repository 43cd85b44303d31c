// SPDX-License-Identifier: Apache-2.0
// What a row says: ratios against targets, failures, and columns that stay in line.

import BitsFusion
import Testing

@testable import BitsFusionBench

@Suite struct RowTableTests {
    private func record(_ milliseconds: Double...) throws -> SideRecord {
        let samples = milliseconds.map { $0 / 1000 }
        return SideRecord(
            samples: samples, statistics: try #require(SampleStatistics(samples)), peakBytes: 123_000_000)
    }

    /// 5 ms against 10 ms in Float32; off by `difference` of the largest value.
    private func row(difference: Float = 0, target: Double? = nil, isDisturbed: Bool = false) throws
        -> BenchmarkRow
    {
        let twin = TwinRecord(
            type: .float32, record: try record(10),
            difference: ResultDifference(
                ["output": Tensor([1 - difference], shape: [1])], ["output": Tensor([1], shape: [1])],
                type: .float32),
            tolerance: 1e-4, ratio: 0.5, target: target)
        return BenchmarkRow(
            name: "case", group: .kernels, ours: try record(4, 5, 6), twins: [twin], operations: 1e9,
            bytes: nil,
            shareOfCeiling: 0.25,
            disturbance: Disturbance(
                foreignLoad: 0.01, idleLoad: 0, isDisturbed: isDisturbed, droppedRounds: 0),
            isAlternating: true, curve: nil)
    }

    private func cells(_ row: BenchmarkRow) throws -> [String] {
        let lines = RowTable.markdown([row])
        return lines[lines.count - 1].split(separator: "|").map { String($0.drop { $0 == " " }.dropLast()) }
    }

    @Test("a row gives medians, spreads, ratio, rate, share, memory and difference")
    func contents() throws {
        #expect(
            try cells(row()) == [
                "case", "5.00", "4.00..6.00", "10.0", "10.0..10.0", "-", "-", "0.50", "-", "200 GFLOPS",
                "25%",
                "123/123/-", "0.0e+00/-", "1%",
            ])
    }

    @Test("a ratio passes at its target and misses above it")
    func targets() throws {
        #expect(try cells(row(target: 0.5)).contains("0.50 <=0.50 pass"))
        #expect(try cells(row(target: 0.49)).contains("0.50 <=0.49 MISS"))
    }

    @Test("results that differ too much fail the row")
    func failure() throws {
        let far = try row(difference: 0.5)
        #expect(!far.agrees)
        #expect(try cells(far).contains("5.0e-01 FAIL/-"))
        #expect(try row(difference: 5e-5).agrees)
    }

    @Test("a disturbed row says so")
    func disturbed() throws {
        #expect(try cells(row(isDisturbed: true)).last == "1%!")
    }

    @Test("heading and rows have their columns at the same places")
    func alignment() throws {
        let table = RowTable(names: ["case", "a longer name"])
        let (heading, line) = (Array(table.heading), Array(table.line(try row())))
        // The last column stands to the right in both.
        #expect(heading.count == line.count)
        // The first one is as wide as the longest name.
        let ours = try #require(table.heading.range(of: "ours ms"))
        let end = table.heading.distance(from: table.heading.startIndex, to: ours.upperBound)
        #expect(String(line[..<end]).hasSuffix(" 5.00") && end > "a longer name".count)
    }

    @Test("a curve tells the cost of one sample and the power that it grows with")
    func curve() throws {
        func point(_ samples: Int, _ milliseconds: Double) throws -> BenchmarkRow {
            BenchmarkRow(
                name: "batch \(samples)", group: .train, ours: try record(milliseconds), twins: [],
                operations: nil, bytes: nil, shareOfCeiling: nil,
                disturbance: Disturbance(
                    foreignLoad: nil, idleLoad: nil, isDisturbed: false, droppedRounds: 0),
                isAlternating: true, curve: CurvePoint(curve: "step", unit: "samples", count: samples))
        }
        let lines = CurveTable([try point(16, 32), try point(8, 16), try row()]).lines
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
