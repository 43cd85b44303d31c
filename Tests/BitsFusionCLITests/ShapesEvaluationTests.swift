// SPDX-License-Identifier: Apache-2.0
// `evaluate` of models of the shapes world: scores of single images, and errors by timestep.

import BitsFusion
import Foundation
import TestKit
import Testing

@Suite("Evaluating shapes models")
struct ShapesEvaluationTests {
    private struct Scores: Decodable {
        struct Row: Decodable {
            var model: String
            var score: Score
        }
        struct Score: Decodable {
            var families: [Family]
            var clipScore: MeanEstimate
            var noiseError: Double
            var noiseErrorCurve: [Point]
        }
        struct Family: Decodable { var satisfied, count: Int }
        struct Point: Decodable {
            var timestep: Int
            var error: Double
        }
        var rows: [Row]
    }

    @Test("scores of images agree with the table, and the error is largest at the least noisy timesteps", .slow)
    func images() throws {
        let folder = try TemporaryFolder()
        let config = try UNet2DConditionConfig(json: AtomicFile.read(ConfigFileTests.path("unet-shapes.json")))
        let inventory = try config.inventory()
        try BitRecipe.uniform(BitWidth(3), over: inventory).write(to: folder.url("recipe.json"))
        let quantized = try folder.run("quantize", "shapes", "--recipe", "recipe.json", "-o", "packed.h5", "-q")
        try #require(quantized.status == 0, "\(quantized.errors)")
        let run = try folder.run(
            "evaluate", "shapes", "packed.h5", "--prompts-per-family", "1", "--sampler", "ddim", "--steps", "5",
            "--image-scores", "images.csv", "-o", "scores.json", "-q")
        try #require(run.status == 0, "\(run.errors)")
        let scores = try JSONDecoder().decode(Scores.self, from: folder.data("scores.json"))
        let lines = try String(decoding: folder.data("images.csv"), as: UTF8.self).split(separator: "\n")
        #expect(lines.first == "model,prompt,family,seed,satisfied,clip,psnr")
        let images = lines.dropFirst().map { $0.split(separator: ",", omittingEmptySubsequences: false) }
        #expect(images.count == 12 && images.allSatisfy { $0.count == 7 })
        for (number, row) in scores.rows.enumerated() {
            let own = images[number * 6..<number * 6 + 6]
            #expect(own.allSatisfy { $0[0] == "\"\(row.model)\"" })
            #expect(own.map { Int($0[4]) } == row.score.families.map(\.satisfied))
            let clip = own.compactMap { Double($0[5]) }.reduce(0, +) / 6
            #expect(abs(clip - row.score.clipScore.mean) < 1e-6)
            #expect(own.allSatisfy { number == 0 ? $0[6] == "inf" : (Double($0[6]) ?? 0) > 5 })
        }
        let curves = scores.rows.map(\.score.noiseErrorCurve)
        #expect(curves[0].count == 5 && curves[0].allSatisfy { $0.error == 0 })
        #expect(zip(curves[1], curves[1].dropFirst()).allSatisfy { $0.timestep < $1.timestep })
        #expect(curves[1].map(\.error).max() == curves[1][0].error && curves[1].allSatisfy { $0.error > 0 })
    }
}
