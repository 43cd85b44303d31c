// SPDX-License-Identifier: Apache-2.0
// The six scores of a candidate in a document: all keys written, missing ones nil, impossible values refused.

import Analyzer
import Checkpoints
import Foundation
import Tensors
import TestKit
import Testing

@testable import Recipes

@Suite struct SensitivityScoresTests {
    @Test("every metric has a key, is written if nil and reads back")
    func keys() throws {
        for metric in SensitivityMetric.allCases {
            var scores = SensitivityScores()
            scores[metric] = 0.25
            #expect(SensitivityMetric.allCases.filter { scores[$0] != nil } == [metric])
            let data = try JSONEncoder().encode(scores)
            let object = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
            #expect(Set(object.keys) == Set(SensitivityMetric.allCases.map(\.rawValue)))
            #expect(object[metric.rawValue] as? Double == 0.25)
            #expect(object.values.count { $0 is NSNull } == SensitivityMetric.allCases.count - 1)
            #expect(try JSONDecoder().decode(SensitivityScores.self, from: data) == scores)
        }
    }

    @Test("scores with some of the keys are read")
    func earlier() throws {
        let text = #"{"mse": 0.5, "psnr": 3, "clipDrop": -0.125}"#
        let scores = try JSONDecoder().decode(SensitivityScores.self, from: Data(text.utf8))
        #expect(scores == SensitivityScores(mse: 0.5, psnr: 3, clipDrop: -0.125))
    }

    @Test("only a smaller PSNR is worse, and only PSNR and CLIP drop may be negative")
    func directions() {
        #expect(SensitivityMetric.allCases.filter { !$0.isWorseWhenLarger } == [.psnr])
        #expect(SensitivityMetric.allCases.filter { !$0.isNonNegative } == [.psnr, .clipDrop])
    }

    private func table(_ scores: SensitivityScores) -> SensitivityTable {
        SensitivityTable(layers: [
            LayerSensitivity(
                path: "mid.a", kind: .linear, weights: 1, skewness: 0, bits: [BitWidth(2): scores])
        ])
    }

    @Test(
        "negative scores and NaN are refused by layer, bits and metric",
        arguments: SensitivityMetric.allCases)
    func impossible(metric: SensitivityMetric) {
        var scores = SensitivityScores()
        scores[metric] = -1
        let negative = recipeError { () throws(RecipeError) in try table(scores).validate() }
        let field = "bits.2.\(metric.rawValue)"
        #expect(negative == (metric.isNonNegative ? .negative(path: "mid.a", field: field, found: -1) : nil))
        scores[metric] = .nan
        let nan = recipeError { () throws(RecipeError) in try table(scores).validate() }
        #expect(nan == .nonFinite(path: "mid.a", field: field, found: "nan"))
    }

    @Test("scores without any value, such as those with a misspelled key, are refused by layer and bits")
    func empty() throws {
        let text = """
            {"format": "bitsfusion-sensitivity", "version": 2, "layers": [
              {"path": "mid.a", "kind": "linear", "weights": 80, "skewness": 0, "bits": {"2": {"MSE": 0.5}}}]}
            """
        let error = recipeError { () throws(RecipeError) in
            _ = try SensitivityTable.decode(from: Data(text.utf8))
        }
        #expect(
            error?.description
                == "mid.a: bits.2: malformed: expected one of mse, psnr, perceptual, clipDrop, noise, fisher, found "
                + "none"
        )
    }

    private static let settingsText = """
        "prompts": ["a red circle"], "seeds": [0], "sampler": "ddim", "steps": 8, "guidanceScale": 3, "qatSteps": 0
        """

    @Test("settings without modes and timesteps compared images")
    func earlierProtocol() throws {
        let text = Data("{\(Self.settingsText)}".utf8)
        let found = try JSONDecoder().decode(AnalysisSettings.self, from: text)
        #expect(found.measures == [.images] && found.timesteps.isEmpty && found.steps == 8)
    }

    @Test("modes and timesteps are written and read, and an unknown mode is refused by name")
    func protocolFields() throws {
        let noise = AnalysisSettings(
            measures: [.noise], prompts: [], embeddings: FileReference(path: "e", sha256: "0a"),
            seeds: [1, .max],
            sampler: "ddim", steps: 1, guidanceScale: 1, qatSteps: 20, timesteps: [999, 0, 500])
        let data = try JSONEncoder().encode(noise)
        #expect(try JSONDecoder().decode(AnalysisSettings.self, from: data) == noise)
        let text = """
            {"format": "bitsfusion-sensitivity", "version": 2, "layers": [],
             "generation": {\(Self.settingsText), "measures": ["sound"]}}
            """
        let error = recipeError { () throws(RecipeError) in
            _ = try SensitivityTable.decode(from: Data(text.utf8))
        }
        #expect(
            error
                == .malformed(
                    location: "generation: measures",
                    reason: "expected some of images, noise, fisher, found \"sound\""))
    }
}
