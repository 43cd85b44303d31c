// SPDX-License-Identifier: Apache-2.0
// Analyses in parts, and what is said beforehand of their cost.

import Foundation
import Recipes
import TestKit
import Testing

@testable import Analyzer

@Suite struct ShardAndForecastTests {
    @Test("shards are read from K/N, and nothing else is", arguments: ["2/8", "1/1", "8/8"])
    func reading(text: String) throws {
        #expect(try #require(SensitivityShard(text)).description == text)
        for wrong in ["", "0/8", "9/8", "1", "1/", "/1", "-1/2", "1/2/3", "a/b", "1/0"] {
            #expect(SensitivityShard(wrong) == nil, "\(wrong)")
        }
    }

    @Test("shards part the layers, and each measures what the whole analysis measures") func parts() throws {
        let whole = try #require(
            try tinySweep(TinyModel.pipeline(), bits: [1], measures: [.noise, .fisher]).run())
        var parts: [LayerSensitivity] = []
        for index in 1...3 {
            let shard = try #require(SensitivityShard(index: index, count: 3))
            let sweep = try tinySweep(
                TinyModel.pipeline(), bits: [1], measures: [.noise, .fisher], shard: shard)
            parts += try #require(try sweep.run()).layers
        }
        #expect(parts.sorted { $0.path < $1.path } == whole.layers)
    }

    @Test("what a layer is trained on is pinned, also where only images are compared") func trainingInputs()
        throws
    {
        let trained = try tinySweep(TinyModel.pipeline(), qatSteps: 2)
        #expect(trained.generation.qatTimestepsPerImage == 2 && trained.generation.timesteps.isEmpty)
        #expect(try tinySweep(TinyModel.pipeline()).generation.qatTimestepsPerImage == nil)
    }

    @Test("two analyses do not write to one output at the same time") func oneWriter() throws {
        try TemporaryFolder.with { folder in
            let output = folder.url("s.json")
            let path = SensitivitySweep.journalPath(of: output)
            var inner: (any Error)?
            _ = try tinySweep(TinyModel.pipeline(), bits: [1], layers: "conv_shortcut").run(
                output: output,
                progress: { progress in
                    guard progress.done == 1 else { return }
                    do {
                        _ = try tinySweep(TinyModel.pipeline(), bits: [1], layers: "conv_shortcut").run(
                            output: output, unfinished: .overwritten)
                    } catch {
                        inner = error
                    }
                })
            #expect(inner as? SensitivityError == .inUse(journal: path))
        }
    }

    @Test("more shards than layers are refused") func empty() throws {
        let shard = try #require(SensitivityShard(index: 2, count: 2))
        #expect(throws: SensitivityError.emptyShard(shard, layers: 1)) {
            try tinySweep(TinyModel.pipeline(), layers: "^conv_in$", shard: shard)
        }
    }

    @Test("two terms are found exactly where times follow them, and never become negative")
    func fit() {
        let terms: [(Double, Double)] = [(1, 5), (2, 1), (3, 4), (0.5, 9)]
        let (a, b) = SweepForecast.fit(terms, terms.map { 0.25 * $0 + 2 * $1 })
        #expect(abs(a - 0.25) < 1e-9 && abs(b - 2) < 1e-9)
        let falling = SweepForecast.fit([(1, 1), (2, 10), (3, 30)], [3, 2.5, 2])
        #expect(falling.0 >= 0 && falling.1 >= 0)
        #expect(SweepForecast.fit([(1, 0), (2, 0)], [3, 6]) == (3, 0))
    }

    @Test("a forecast counts all candidates, takes time, and leaves the model as it was")
    func forecast() throws {
        let pipeline = try TinyModel.pipeline()
        let values = pipeline.denoiser.quantizedLayers.map { $0.weight.tensor().values }
        let sweep = try tinySweep(pipeline, measures: [.noise])
        let forecast = try #require(try sweep.forecast())
        #expect(forecast.candidates == sweep.candidates.count && forecast.sampled == 12)
        #expect(forecast.seconds > 0 && forecast.secondsBefore > 0 && forecast.stateBytes > 0)
        #expect(pipeline.denoiser.quantizedLayers.map { $0.weight.tensor().values } == values)
        #expect(try sweep.forecast(shouldStop: { true }) == nil)
    }
}
