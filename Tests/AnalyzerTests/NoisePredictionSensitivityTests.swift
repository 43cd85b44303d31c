// SPDX-License-Identifier: Apache-2.0
// The error of the noise prediction: reusing what lies before a layer changes no bit, whatever is kept; its size and
// what training does to it.

import Foundation
import Layers
import Pipelines
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import Analyzer

@Suite struct NoisePredictionSensitivityTests {
    private func sensitivities(_ table: SensitivityTable) -> [String: UInt64] {
        var result: [String: UInt64] = [:]
        for layer in table.layers {
            for (bits, measure) in layer.bits {
                result["\(layer.path)@\(bits)"] = measure.noise?.bitPattern
            }
        }
        return result
    }

    @Test("a pass from a stage is bit-equal to a whole one, for every layer", .slow, arguments: [1, 1.5] as [Float])
    func prefixes(guidanceScale: Float) throws {
        let pipeline = try TinyModel.pipeline()
        pipeline.denoiser.store.setTrainable(false)
        let calibration = try CalibrationSet(promptCount: 3, pipeline: pipeline)
        let images = pipeline.initialNoise(seeds: calibration.seeds)
        let inputs = PredictionInputs.noised(
            images, channels: 3, calibration: calibration, timestepsPerImage: 2, stream: .measuring,
            guidanceScale: guidanceScale,
            schedule: try pipeline.noiseSchedule(), batchSize: 4)
        #expect(inputs.map(\.timesteps.count) == [4, 2])
        let passes = try StagedPredictions(pipeline.stagedDenoiser(), inputs, memoryLimit: 1 << 30) {}
        let whole = try StagedPredictions(pipeline.stagedDenoiser(), inputs, memoryLimit: 0) {}
        #expect(passes.stateBytes > 0 && whole.stateBytes == 0)
        for layer in pipeline.denoiser.quantizedLayers {
            let stage = try #require(pipeline.stagedDenoiser().stage(ofLayer: layer.path))
            passes.move(to: stage)
            let original = layer.weight
            defer { layer.weight = original }
            layer.weight = Parameter(layer.path, original.tensor() * 0.5, isTrainable: false)
            for index in inputs.indices {
                let reused = withoutGradients { passes.prediction(index, from: stage) }
                let naive = withoutGradients { whole.prediction(index, from: nil) }
                #expect(reused.values == naive.values, "\(layer.path)")
                #expect(reused.values != passes.references[index].values, "\(layer.path)")
            }
        }
    }

    @Test("the sweep's numbers do not depend on what is kept", .slow) func memoryLimits() throws {
        let kept = try #require(try tinySweep(TinyModel.pipeline(), bits: [1, 2], measures: [.noise]).run())
        let none = try #require(
            try tinySweep(TinyModel.pipeline(), bits: [1, 2], measures: [.noise], memoryLimit: 0).run())
        #expect(sensitivities(kept) == sensitivities(none))
        #expect(sensitivities(kept).count > 50)
    }

    @Test("more bits leave smaller errors, and 8 bits hardly any") func moreBits() throws {
        let table = try #require(
            try tinySweep(TinyModel.pipeline(), bits: [1, 3, 8], measures: [.noise]).run())
        #expect(table.generation?.measures == [.noise])
        #expect(table.generation?.timesteps.count == 6)
        for layer in table.layers where layer.role == .searched {
            let errors = [1, 3, 8].compactMap { layer.bits[BitWidth($0)]?.noise }
            #expect(errors.count == 3 && errors[0] > errors[2] && errors[1] > errors[2], "\(layer.path)")
            #expect(layer.bits.values.allSatisfy { $0.mse == nil && $0.psnr == nil })
        }
    }

    @Test("fine-tuning a layer lowers its sensitivity in nearly all layers, and gives the same bits again", .slow)
    func training() throws {
        func run(_ steps: Int) throws -> SensitivityTable {
            try #require(
                try tinySweep(
                    TinyModel.pipeline(), bits: [1], layers: "attn|conv1", prompts: 12, measures: [.noise],
                    qatSteps: steps
                ).run())
        }
        let (before, after) = (try run(0), try run(12))
        var better = 0
        for (untrained, trained) in zip(before.layers, after.layers) {
            let (x, y) = (untrained.bits[BitWidth(1)]?.noise, trained.bits[BitWidth(1)]?.noise)
            if try #require(y) < #require(x) { better += 1 }
        }
        #expect(Double(better) > 0.8 * Double(before.layers.count), "\(better) of \(before.layers.count)")
        #expect(sensitivities(try run(12)) == sensitivities(after))
        #expect(after.generation?.qatSteps == 12 && after.generation?.qatLearningRate == 1e-3)
    }

    @Test("afterwards weights, gradients and flags are as before") func restored() throws {
        let pipeline = try TinyModel.pipeline()
        let parameters = pipeline.denoiser.store.parameters
        let weights = pipeline.denoiser.quantizedLayers.map(\.weight)
        let values = weights.map { $0.tensor().values }
        let flags = parameters.map(\.isTrainable)
        _ = try tinySweep(
            pipeline, bits: [1], layers: "attn1|conv2", measures: [.noise, .fisher], qatSteps: 2
        ).run()
        #expect(pipeline.denoiser.store.parameters.map(\.isTrainable) == flags)
        #expect(parameters.allSatisfy { $0.gradient == nil })
        for (index, layer) in pipeline.denoiser.quantizedLayers.enumerated() {
            #expect(layer.weight === weights[index] && layer.weight.tensor().values == values[index])
        }
    }
}
