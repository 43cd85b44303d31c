// SPDX-License-Identifier: Apache-2.0
// The six measures of a candidate in a document: all keys written, absent ones nil, impossible values refused.

import Analyzer
import Checkpoints
import Foundation
import Tensors
import Testing

@testable import Recipes

@Suite struct SensitivityScoresTests {
    @Test("every metric has a key of its own, is written where it is nil and reads back")
    func keys() throws {
        for metric in SensitivityMetric.allCases {
            var measure = SensitivityScores()
            measure[metric] = 0.25
            #expect(SensitivityMetric.allCases.filter { measure[$0] != nil } == [metric])
            let data = try JSONEncoder().encode(measure)
            let object = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
            #expect(Set(object.keys) == Set(SensitivityMetric.allCases.map(\.rawValue)))
            #expect(object[metric.rawValue] as? Double == 0.25)
            #expect(object.values.count { $0 is NSNull } == SensitivityMetric.allCases.count - 1)
            #expect(try JSONDecoder().decode(SensitivityScores.self, from: data) == measure)
        }
    }

    @Test("a measure of an earlier version has three keys and is read")
    func earlier() throws {
        let text = #"{"mse": 0.5, "psnr": 3, "clipDrop": -0.125}"#
        let measure = try JSONDecoder().decode(SensitivityScores.self, from: Data(text.utf8))
        #expect(measure == SensitivityScores(mse: 0.5, psnr: 3, clipDrop: -0.125))
    }

    @Test("only a smaller PSNR is worse, and only PSNR and CLIP drop may be negative")
    func directions() {
        #expect(SensitivityMetric.allCases.filter { !$0.isWorseWhenLarger } == [.psnr])
        #expect(SensitivityMetric.allCases.filter { !$0.isNonNegative } == [.psnr, .clipDrop])
    }

    private func table(_ measure: SensitivityScores) -> SensitivityTable {
        SensitivityTable(layers: [
            LayerSensitivity(
                path: "mid.a", kind: .linear, weights: 1, skewness: 0, bits: [BitWidth(2): measure])
        ])
    }

    @Test(
        "a negative sensitivity and a NaN are refused by layer, width and metric",
        arguments: SensitivityMetric.allCases)
    func impossible(metric: SensitivityMetric) {
        var measure = SensitivityScores()
        measure[metric] = -1
        let negative = recipeError { () throws(RecipeError) in try table(measure).validate() }
        let field = "bits.2.\(metric.rawValue)"
        #expect(negative == (metric.isNonNegative ? .negative(path: "mid.a", field: field, found: -1) : nil))
        measure[metric] = .nan
        let nan = recipeError { () throws(RecipeError) in try table(measure).validate() }
        #expect(nan == .nonFinite(path: "mid.a", field: field, found: "nan"))
    }

    @Test("a measure without any value, such as one of a misspelt key, is refused by layer and width")
    func empty() throws {
        let text = """
            {"format": "bitsfusion-sensitivity", "version": 1, "layers": [
              {"path": "mid.a", "kind": "linear", "weights": 80, "skewness": 0, "bits": {"2": {"MSE": 0.5}}}]}
            """
        let error = recipeError { () throws(RecipeError) in
            _ = try SensitivityTable.decode(from: Data(text.utf8))
        }
        #expect(
            error?.description
                == "mid.a: bits.2: malformed: expected one of mse, psnr, perceptual, clipDrop, noise, fisher, found none"
        )
    }

    private static let protocolText = """
        "prompts": ["a red circle"], "seeds": [0], "sampler": "ddim", "steps": 8, "guidanceScale": 3, "qatSteps": 0
        """

    @Test("a protocol without measure and timesteps compared images")
    func earlierProtocol() throws {
        let text = Data("{\(Self.protocolText)}".utf8)
        let found = try JSONDecoder().decode(AnalysisSettings.self, from: text)
        #expect(found.measures == [.images] && found.timesteps.isEmpty && found.steps == 8)
    }

    @Test("measure and timesteps are written and read, and an unknown measure is refused by name")
    func protocolFields() throws {
        let noise = AnalysisSettings(
            measures: [.noise], prompts: [], embeddings: FileReference(path: "e", sha256: "0a"),
            seeds: [1, .max],
            sampler: "ddim", steps: 1, guidanceScale: 1, qatSteps: 20, timesteps: [999, 0, 500])
        let data = try JSONEncoder().encode(noise)
        #expect(try JSONDecoder().decode(AnalysisSettings.self, from: data) == noise)
        let text = """
            {"format": "bitsfusion-sensitivity", "version": 1, "layers": [],
             "generation": {\(Self.protocolText), "measures": ["sound"]}}
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
