// SPDX-License-Identifier: Apache-2.0
// Findings on a table: correlations, rankings, sums and symmetry, with numbers computed by hand.

import Analyzer
import Foundation
import Tensors
import TestKit
import Testing

@testable import Recipes

@Suite struct SensitivityFindingsTests {
    private static func layer(
        _ path: LayerID, weights: Int = 10, skewness: Double = 0, _ bits: [Int: SensitivityScores]
    ) -> LayerSensitivity {
        LayerSensitivity(
            path: path, kind: .linear, weights: weights, skewness: skewness,
            bits: Dictionary(uniqueKeysWithValues: bits.map { (BitWidth($0.key), $0.value) }))
    }

    /// Four layers of three groups; the last one has no CLIP drop, no scores at 2 bits and an infinite PSNR.
    private let table = SensitivityTable(layers: [
        layer("conv_in", weights: 40, skewness: 0.75, [8: SensitivityScores(mse: 64, clipDrop: 1)]),
        layer(
            "a.attn2.to_k", weights: 20, skewness: -0.5,
            [
                1: SensitivityScores(mse: 4, psnr: 10, clipDrop: 0.25, noise: 1),
                2: SensitivityScores(mse: 2, noise: 3),
            ]),
        layer(
            "a.attn2.to_v", weights: 20, skewness: 0.5,
            [
                1: SensitivityScores(mse: 1, psnr: 40, clipDrop: 0.5, noise: 2),
                2: SensitivityScores(mse: 1, noise: 2),
            ]),
        layer(
            "a.ff.net.2", weights: 10,
            [
                1: SensitivityScores(mse: 2, psnr: 20, clipDrop: -0.25, noise: 8),
                2: SensitivityScores(mse: 0, noise: 1),
            ]),
        layer("b.ff.net.2", weights: 10, skewness: -2, [1: SensitivityScores(mse: 4, noise: 8)]),
    ])

    private func correlation(_ x: String, _ y: String) -> SensitivityCorrelation? {
        table.measuredCorrelations().first { $0.x == x && $0.y == y }
    }

    @Test("MSE is correlated with all metrics, noise with Fisher, and each metric between bit widths")
    func pairs() {
        let names = table.measuredCorrelations().map { "\($0.x) \($0.y)" }
        #expect(
            names == [
                "mse@1 psnr@1", "mse@1 clipDrop@1", "mse@1 noise@1", "mse@2 noise@2", "mse@1 mse@2",
                "noise@1 noise@2",
            ])
        var predicted = table
        for index in predicted.layers.indices {
            let noise = predicted.layers[index].bits[BitWidth(1)]?.noise
            predicted.layers[index].bits[BitWidth(1)]?.fisher = noise.map { $0 * $0 }
        }
        let found = predicted.measuredCorrelations().first { $0.x == "noise@1" && $0.y == "fisher@1" }
        #expect(abs((found?.spearman ?? 0) - 1) < 1e-12 && (found?.pearson ?? 1) < 1)
    }

    @Test("coefficients are over the layers with both scores")
    func values() throws {
        // MSE 4, 1, 2 against PSNR 10, 40, 20: deviations 5/3, -4/3, -1/3 and -40/3, 50/3, -10/3.
        let psnr = try #require(correlation("mse@1", "psnr@1"))
        #expect(abs(psnr.pearson + 390 / (42.0 * 4200).squareRoot()) < 1e-12)
        #expect(abs((psnr.spearman ?? 0) + 1) < 1e-12 && psnr.layers == 3)
        // Noise 1, 2, 8 (and 8 without a value at 2 bits) against 3, 2, 1.
        let noise = try #require(correlation("noise@1", "noise@2"))
        #expect(abs((noise.spearman ?? 0) + 1) < 1e-12 && noise.layers == 3)
        // Four layers, two ties on each side: ranks 3.5, 1, 2, 3.5 against 1, 2, 3.5, 3.5.
        let ties = try #require(correlation("mse@1", "noise@1"))
        #expect(abs((ties.spearman ?? 9) - -0.25 / 4.5) < 1e-12 && ties.layers == 4)
    }

    @Test("a correlation is found by its two sides")
    func lookUp() {
        var table = table
        table.correlations = table.measuredCorrelations()
        #expect(table.correlation((.mse, BitWidth(1)), (.psnr, BitWidth(1)))?.x == "mse@1")
        #expect(table.correlation((.mse, BitWidth(2)), (.psnr, BitWidth(2))) == nil)
    }

    @Test("layers are ranked by each metric at the fewest bits, small PSNR first, equal ones by path")
    func rankings() {
        #expect(table.fewestBits == BitWidth(1))
        #expect(table.metrics == [.mse, .psnr, .clipDrop, .noise])
        #expect(table.rankings.map(\.metric) == table.metrics)
        #expect(
            table.rankings.map { $0.layers.map(\.rawValue) } == [
                ["a.attn2.to_k", "b.ff.net.2", "a.ff.net.2", "a.attn2.to_v"],
                ["a.attn2.to_k", "a.ff.net.2", "a.attn2.to_v"],
                ["a.attn2.to_v", "a.attn2.to_k", "a.ff.net.2"],
                ["a.ff.net.2", "b.ff.net.2", "a.attn2.to_v", "a.attn2.to_k"],
            ])
        #expect(table.mostSensitiveLayers(1).map(\.path) == ["a.attn2.to_k"])
        #expect(table.mostSensitiveLayers(-1).isEmpty && table.mostSensitiveLayers(9, by: .fisher).isEmpty)
    }

    @Test("sums and means are over the layers of a group with the score")
    func sums() throws {
        let sums = table.sums
        #expect(sums.map(\.group) == [.crossAttentionKeyValue, .feedForward, .firstOrLast])
        #expect(sums.map(\.layers) == [2, 2, 1])
        #expect(sums.map(\.weights) == [40, 20, 40])
        #expect(sums.map(\.weightShare) == [0.4, 0.2, 0.4])
        let attention = try #require(sums[0].bits[BitWidth(1)])
        #expect(attention[.mse]?.sum == 5 && attention[.mse]?.mean == 2.5 && attention[.mse]?.layers == 2)
        let forward = sums[1].bits
        #expect(
            forward[BitWidth(1)]?[.clipDrop]?.mean == -0.25 && forward[BitWidth(1)]?[.clipDrop]?.layers == 1)
        #expect(forward[BitWidth(2)]?[.noise]?.sum == 1 && forward[BitWidth(2)]?[.noise]?.layers == 1)
        #expect(forward[BitWidth(1)]?[.fisher] == nil)
        #expect(sums[2].bits.keys.map(\.rawValue) == [8])
    }

    @Test("a sum that is not finite is left out, and the table can be written")
    func overflow() throws {
        var table = table
        for index in [3, 4] { table.layers[index].bits[BitWidth(1)]?.mse = 1.5e308 }
        #expect(table.sums[1].bits[BitWidth(1)]?[.mse] == nil)
        #expect(table.sums[1].bits[BitWidth(1)]?[.noise]?.sum == 16)
        table.correlations = table.measuredCorrelations()
        _ = try table.encoded()
    }

    @Test("the limits of the skewness are inclusive")
    func symmetry() {
        #expect(table.symmetricShare() == 0.6)
        #expect(table.symmetricShare(limit: 0.75) == 0.8)
        #expect(SensitivityTable(layers: []).symmetricShare() == nil)
    }

    @Test("findings do not depend on the order of the layers and are not read back")
    func document() throws {
        var table = table
        table.correlations = table.measuredCorrelations()
        let data = try table.encoded()
        let object = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
        let sums = try #require(object["sums"] as? [[String: Any]])
        let byBits = try #require(sums[0]["bits"] as? [String: [String: [String: Double]]])
        #expect(byBits["1"]?["mse"] == ["sum": 5, "mean": 2.5, "layers": 2])
        #expect(sums[0]["group"] as? String == "crossAttentionKeyValue")
        let rankings = try #require(object["mostSensitive"] as? [[String: Any]])
        #expect(rankings[1]["metric"] as? String == "psnr" && rankings[1]["bits"] as? Int == 1)
        #expect(object["symmetricShare"] as? Double == 0.6)
        table.layers.reverse()
        table.correlations = table.measuredCorrelations()
        #expect(try table.encoded() == data)
        #expect(try SensitivityTable.decode(from: data).encoded() == data)
    }

    @Test("a correlation outside of -1...1 is refused")
    func impossible() {
        for (pearson, spearman) in [(1.5, 0), (.nan, 0), (0, -2.0)] {
            var table = table
            table.correlations = [
                SensitivityCorrelation(
                    x: "mse@1", y: "mse@2", pearson: pearson, spearman: spearman, layers: 3)
            ]
            let error = recipeError { () throws(RecipeError) in try table.validate() }
            #expect(
                error?.description.hasPrefix("correlations: mse@1, mse@2: malformed: expected a number")
                    == true)
        }
    }
}
