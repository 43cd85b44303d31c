// SPDX-License-Identifier: Apache-2.0
// What `analyze` and `merge` print of a table: every finding once, beside the paper's numbers, and no measure that is
// not there.

import BitsFusion
import TestKit
import Testing

@testable import BitsFusionCLI

@Suite("The report of a sensitivity table")
struct SensitivityReportTests {
    /// Twelve feed-forward layers, conv_in and conv_out; `scores` gives the scores of layer 1...12 at a number of bits.
    private func report(
        allBits: [Int] = [1, 2], _ scores: (_ layer: Double, _ bits: Double) -> SensitivityScores
    ) -> [String] {
        var layers = (1...12).map { index in
            LayerSensitivity(
                path: LayerID("mid.ff.net.\(index)"), kind: .linear, weights: 10,
                skewness: index == 12 ? 0.75 : 0.1,
                bits: Dictionary(
                    uniqueKeysWithValues: allBits.map {
                        (BitWidth($0), scores(Double(index), Double($0)))
                    }))
        }
        layers += ["conv_in", "conv_out"].map {
            LayerSensitivity(
                path: LayerID($0), kind: .conv2d, weights: 10, skewness: 0,
                bits: [BitWidth(8): scores(100, 8)])
        }
        var table = SensitivityTable(layers: layers)
        table.correlations = table.measuredCorrelations()
        return SensitivityReport(table).lines
    }

    private func cells(_ line: String?) -> [String] {
        (line ?? "").components(separatedBy: "  ").map { $0.trimmingCharacters(in: .whitespaces) }
            .filter { !$0.isEmpty }
    }

    @Test("the report has all tables in order, with r, ρ, the paper's values and ranks from 1 to 10")
    func images() {
        let lines = report { layer, bits in
            SensitivityScores(mse: layer / bits, psnr: 40 - layer, clipDrop: -layer)
        }
        #expect(
            lines.filter { $0.isEmpty }.count == 4 && lines[0].hasPrefix("most sensitive layers at 1 bit "))
        // Ten by MSE and PSNR, from 12 down to 3; then the two that only CLIP drop ranks.
        #expect(
            cells(lines[1]) == ["mid.ff.net.12", "10", "0.75", "1.20e+01 (1)", "28.00 (1)", "-1.20e+01"])
        #expect(cells(lines[10]).suffix(3) == ["3.00e+00 (10)", "37.00 (10)", "-3.00e+00 (3)"])
        #expect(cells(lines[11]) == ["mid.ff.net.1", "10", "0.10", "1.00e+00", "39.00", "-1.00e+00 (1)"])
        #expect(lines[13].isEmpty)
        let groups = lines.first { $0.hasPrefix("feed-forward") }
        #expect(
            cells(groups) == [
                "feed-forward", "12", "85.7 %", "7.80e+01", "6.50e+00", "33.50", "-7.80e+01", "-6.50e+00",
            ])
        #expect(!lines.contains { $0.hasPrefix("conv_in/conv_out") })
        let oneBit = lines.first { $0.hasPrefix("1 bit ") }
        #expect(cells(oneBit).prefix(2) == ["1 bit", "-1.00, -1.00 (0.87)"])
        #expect(cells(oneBit).last?.hasSuffix("(0.73)") == true)
        #expect(cells(lines.first { $0.hasPrefix("MSE ") }) == ["MSE", "1.00, 1.00 (0.93)"])
        #expect(!lines.contains { $0.hasPrefix("8 bits") })
        #expect(
            lines.suffix(2) == [
                "weights with skewness within [-0.5, 0.5]: 92.9 % of 14 layers (paper: 97 %)",
                "not measured: perceptual distance; requires a CLIP-proxy (--clip)",
            ])
    }

    @Test("the report of a table without images mentions noise predictions only")
    func noise() {
        let lines = report { layer, bits in
            SensitivityScores(noise: layer / bits, fisher: layer * layer / bits)
        }
        #expect(
            cells(lines[0]) == ["most sensitive layers at 1 bit", "weights", "skewness", "noise", "Fisher"])
        #expect(cells(lines.first { $0.hasPrefix("over layers") }).last == "noise – Fisher")
        #expect(cells(lines.first { $0.hasPrefix("2 bits") }) == ["2 bits", "0.97, 1.00"])
        #expect(!lines.contains { $0.contains("MSE") || $0.contains("PSNR") || $0.contains("--clip") })
    }

    @Test("the report of one layer at one bit width has no correlations")
    func small() {
        let table = SensitivityTable(layers: [
            LayerSensitivity(
                path: "mid.ff.net.0", kind: .linear, weights: 10, skewness: 0,
                bits: [BitWidth(3): SensitivityScores(mse: 0, perceptual: 0, clipDrop: 0)])
        ])
        let lines = SensitivityReport(table).lines
        #expect(
            cells(lines[1]) == ["mid.ff.net.0", "10", "0.00", "0.00e+00 (1)", "0.00e+00 (1)", "0.00e+00 (1)"])
        #expect(!lines.contains { $0.contains("over layers") || $0.contains("between bit widths") })
        #expect(lines.last == "weights with skewness within [-0.5, 0.5]: 100.0 % of 1 layers (paper: 97 %)")
    }
}
