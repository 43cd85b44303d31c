// SPDX-License-Identifier: Apache-2.0

import Analyzer
import Foundation
import Tensors
import TestKit
import Testing

@testable import Recipes

@Suite struct SensitivityTableTests {
    private func table() throws -> SensitivityTable {
        let allBits = [1, 2, 3].map { BitWidth($0) }
        func layer(_ path: LayerID, _ kind: LayerShape.Kind, _ weights: Int, _ scale: Double)
            -> LayerSensitivity
        {
            var bits: [BitWidth: SensitivityScores] = [:]
            for (index, nominalBits) in allBits.enumerated() {
                let mse = scale / Double(1 << (2 * index))
                bits[nominalBits] = SensitivityScores(
                    mse: mse, psnr: index == 2 ? nil : -10 * log10(mse), clipDrop: 0.1)
            }
            return LayerSensitivity(path: path, kind: kind, weights: weights, skewness: -0.25, bits: bits)
        }
        return SensitivityTable(
            layers: [layer("mid.b", .conv2d, 64, 0.03), layer("mid.a", .linear, 80, 0.1)],
            model: FileReference(path: "model.h5", sha256: "0a"), inventory: try RecipeFixtures.tinyModel(),
            generation: AnalysisSettings(
                prompts: ["a red circle"], seeds: [0, .max], sampler: "ddim", steps: 20, guidanceScale: 3,
                qatSteps: 5),
            correlations: [SensitivityCorrelation(x: "mse@1", y: "mse@2", pearson: 0.93, layers: 256)],
            manifest: RunManifest(toolVersion: "0", commandLine: [], seed: nil, inputs: []))
    }

    @Test("a written table reads back equal, sorted by path")
    func roundTrip() throws {
        var expected = try table()
        let data = try expected.encoded()
        expected.layers.sort { $0.path < $1.path }
        #expect(try SensitivityTable.decode(from: data) == expected)
        #expect(try SensitivityTable.decode(from: data).encoded() == data)
    }

    @Test("the smallest table has only a header and layers; null and missing scores are the same")
    func smallest() throws {
        let table = try SensitivityTable.decode(
            from: Data(
                """
                {"format": "bitsfusion-sensitivity", "version": 2, "layers": [
                  {"path": "mid.a", "kind": "linear", "weights": 80, "skewness": 0,
                   "bits": {"1": {"mse": 0.5, "psnr": 3, "clipDrop": null}, "2": {"mse": 0.25}, "3": {"noise": 2}}}]}
                """.utf8))
        #expect(
            table.layers.first?.bits == [
                BitWidth(1): SensitivityScores(mse: 0.5, psnr: 3),
                BitWidth(2): SensitivityScores(mse: 0.25),
                BitWidth(3): SensitivityScores(noise: 2),
            ])
        #expect(table.inventory == nil)
        #expect(table.correlations.isEmpty)
    }

    private func text(
        path: String = "mid.a", role: String = "searched", mse: String = "0.5", clipDrop: String = "0",
        bits: String = "1"
    ) -> Data {
        Data(
            """
            {"format": "bitsfusion-sensitivity", "version": 2, "layers": [
              {"path": "conv_in", "kind": "conv2d", "weights": 216, "skewness": 0, "bits": {}},
              {"path": "\(path)", "kind": "linear", "role": "\(role)", "weights": 80, "skewness": 0,
               "bits": {"\(bits)": {"mse": \(mse), "psnr": 3, "clipDrop": \(clipDrop)}}}]}
            """.utf8)
    }

    @Test(
        "NaN and infinite numbers are refused with the layer's name",
        arguments: ["NaN", "Infinity", "-Infinity"])
    func nonFinite(value: String) {
        for (data, field) in [(text(mse: value), "bits.1.mse"), (text(clipDrop: value), "bits.1.clipDrop")] {
            let error = recipeError { () throws(RecipeError) in _ = try SensitivityTable.decode(from: data) }
            guard case .nonFinite(path: "mid.a", field: field, _) = error else {
                Issue.record("\(value) in \(field) gave \(String(describing: error))")
                continue
            }
        }
    }

    @Test("a number too large for a Double, a string and a list are refused with the layer's name")
    func mistyped() throws {
        for value in ["1e999", "\"0.5\"", "[]"] {
            let error = recipeError { () throws(RecipeError) in
                _ = try SensitivityTable.decode(from: text(mse: value))
            }
            #expect(try #require(error).description.contains("mid.a"), "\(value)")
        }
    }

    @Test("other faults are refused as data")
    func faults() throws {
        func error(_ data: Data) -> RecipeError? {
            recipeError { () throws(RecipeError) in _ = try SensitivityTable.decode(from: data) }
        }
        #expect(error(text(mse: "-1")) == .negative(path: "mid.a", field: "bits.1.mse", found: -1))
        #expect(error(text(bits: "9")) == .bitsOutOfRange(path: "mid.a", found: 9))
        #expect(error(text(path: "conv_in")) == .duplicateLayer(path: "conv_in"))
        #expect(
            error(text(role: "timeProjection")) == .notQuantizable(path: "mid.a", role: .timeProjection))
        #expect(
            error(Data(#"{"layers": []}"#.utf8))
                == .wrongFormat(expected: "bitsfusion-sensitivity", found: nil))

        var table = try table()
        table.layers[0].weights = 65
        #expect(
            recipeError { () throws(RecipeError) in try table.validate() }
                == .weightCount(path: "mid.b", expected: 64, found: 65))
        table.layers[0].path = "mid.c"
        #expect(
            recipeError { () throws(RecipeError) in try table.validate() } == .unknownLayer(path: "mid.c"))
        table.layers[0].weights = 0
        #expect(throws: RecipeError.self) { try table.encoded() }
    }

    @Test("correlations are over the layers with both scores")
    func correlations() {
        let layers = (1...4).map { index in
            let mse = Double(index)
            return LayerSensitivity(
                path: LayerID("mid.\(index)"), kind: .linear, weights: 1, skewness: 0,
                bits: [
                    BitWidth(1): SensitivityScores(mse: mse, psnr: 10 - 2 * mse),
                    BitWidth(2): SensitivityScores(mse: mse * mse, psnr: index == 4 ? nil : 1),
                ])
        }
        let found = SensitivityTable(layers: layers).measuredCorrelations()
        // PSNR at 2 bits is constant, so it has no correlation; 1, 4, 9, 16 against 1, 2, 3, 4 by hand: 25 / sqrt(645).
        #expect(found.map(\.x) == ["mse@1", "mse@1"])
        #expect(found.map(\.y) == ["psnr@1", "mse@2"])
        #expect(found.map(\.layers) == [4, 4])
        #expect(abs(found[0].pearson + 1) < 1e-12)
        #expect(abs(found[1].pearson - 25 / 645.0.squareRoot()) < 1e-12)
    }
}
