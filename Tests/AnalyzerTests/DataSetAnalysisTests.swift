// SPDX-License-Identifier: Apache-2.0
// Analyses on samples of a data set, which models with condition channels need.

import Files
import Foundation
import Networks
import Pipelines
import Recipes
import Tensors
import TestKit
import Testing

@testable import Analyzer

@Suite struct DataSetAnalysisTests {
    /// A set for a model of 4 predicted and `condition` further channels.
    private func set(_ folder: TemporaryFolder, condition: Int) throws -> String {
        var random = Philox(seed: 8)
        try writeDataSets(
            [
                "latents": random.normal([6, 4 + condition, 8, 8]),
                "encoder_hidden_states": random.normal([6, 5, TinyModel.crossAttentionDim]),
                "empty_hidden_states": random.normal([1, 5, TinyModel.crossAttentionDim]),
            ], to: folder.file("set.h5"))
        return folder.file("set.h5")
    }

    private func sweep(
        _ pipeline: DiffusionPipeline, _ calibration: CalibrationSet,
        _ measures: Set<MeasurementMode> = [.noise, .fisher]
    ) throws -> SensitivitySweep {
        try SensitivitySweep(
            pipeline: pipeline, model: FileReference(path: "m", sha256: "0"), calibration: calibration, clip: nil,
            options: SensitivityOptions(
                bits: [BitWidth(2)], measures: measures,
                generation: GenerationOptions(sampler: .ddim, steps: 2, guidanceScale: 2), timestepsPerImage: 2,
                layerPattern: "to_v"),
            manifest: TinyModel.manifest)
    }

    @Test("condition channels get no noise, and the others that of models without condition", arguments: [4, 5])
    func inputs(condition: Int) throws {
        let folder = try TemporaryFolder()
        let pipeline = try TinyModel.pipeline(TinyModel.config(channels: 4, condition: condition))
        let calibration = try CalibrationSet(
            dataSet: set(folder, condition: condition), count: 3, seed: 5, pipeline: pipeline)
        let samples = try #require(calibration.samples)
        #expect(samples.shape == [3, 4 + condition, 8, 8] && calibration.seeds == [5, 6, 7])
        func noised(_ images: Tensor) throws -> Tensor {
            let parts = PredictionInputs.noised(
                images, channels: 4, calibration: calibration, timestepsPerImage: 2, stream: .measuring,
                guidanceScale: 1, schedule: try pipeline.noiseSchedule(), batchSize: 100)
            #expect(parts.count == 1)
            return parts[0].samples
        }
        let all = try noised(samples), alone = try noised(samples.sliced(axis: 1, 0..<4))
        #expect(all.sliced(axis: 1, 0..<4).values == alone.values)
        for row in 0..<6 {
            #expect(
                all.sliced(axis: 0, row..<row + 1).sliced(axis: 1, 4..<4 + condition).values
                    == samples.sliced(axis: 0, row / 2..<row / 2 + 1).sliced(axis: 1, 4..<4 + condition).values)
        }
    }

    @Test("a model with condition channels is analyzed, and its recipes are measured again from the table")
    func sensitivity() throws {
        let folder = try TemporaryFolder()
        let pipeline = try TinyModel.pipeline(TinyModel.config(channels: 4, condition: 5))
        let path = try set(folder, condition: 5)
        let calibration = try CalibrationSet(dataSet: path, count: 3, pipeline: pipeline)
        let sweep = try sweep(pipeline, calibration)
        let table = try #require(try sweep.run())
        let generation = try #require(table.generation)
        #expect(generation.data?.path == path && generation.prompts.isEmpty && generation.timesteps.count == 6)
        for layer in table.layers where layer.role == .searched {
            let scores = try #require(layer.bits[BitWidth(2)])
            #expect((scores.noise ?? 0) > 0 && (scores.fisher ?? 0) > 0)
        }
        pipeline.freeze()
        let evaluator = try RecipeEvaluator(pipeline: pipeline, generation: generation)
        let config = try TinyModel.config(channels: 4, condition: 5)
        let scores = try #require(try evaluator.measure(TinyModel.recipe(2, of: config)))
        #expect((scores.noise ?? 0) > 0 && scores.mse == nil)
        try writeDataSets(["latents": .zeros([1, 9, 8, 8])], to: path)
        #expect(throws: SensitivityError.embeddingsChanged(path: path)) {
            _ = try RecipeEvaluator(pipeline: pipeline, generation: generation)
        }
    }

    @Test("images are not compared on a data set, and models with conditions need one")
    func refused() throws {
        let folder = try TemporaryFolder()
        let pipeline = try TinyModel.pipeline(TinyModel.config(channels: 4, condition: 5))
        let calibration = try CalibrationSet(dataSet: set(folder, condition: 5), count: 2, pipeline: pipeline)
        #expect(throws: SensitivityError.dataWithoutImages) { _ = try sweep(pipeline, calibration, [.images, .noise]) }
        #expect(throws: SensitivityError.conditionChannels(inChannels: 9, outChannels: 4)) {
            try pipeline.checkCanBeAnalyzed()
        }
        try pipeline.checkCanBeAnalyzed(hasSamples: true)
        #expect(throws: SensitivityError.images(requested: 0, available: nil)) {
            _ = try CalibrationSet(dataSet: folder.file("set.h5"), count: 0, pipeline: pipeline)
        }
    }
}
