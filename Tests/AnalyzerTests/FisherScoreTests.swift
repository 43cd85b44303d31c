// SPDX-License-Identifier: Apache-2.0
// The predicted sensitivity: its estimator against the sensitivity measured where the model is linear, and its order of
// candidates.

import Evaluation
import Foundation
import Layers
import Pipelines
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import Analyzer

@Suite struct FisherScoreTests {
    @Test(
        "products of gradients and quantization errors are those of their definition",
        arguments: [1, 2, 4, 8])
    func products(bits: Int) {
        var random = Philox(seed: 3)
        let (weight, gradient) = (random.normal([7, 5, 3, 3]), random.normal([7, 5, 3, 3]))
        let grid = QuantizationGrid(BitWidth(bits))
        let scales = ScaleInitialization.paper.scales(of: weight, grid: grid)
        let error = fakeQuantize(weight, scales: scales, grid: grid) - weight
        let products = quantizationErrorProducts(gradient, weight: weight, scales: scales, grid: grid)
        for row in 0..<7 {
            let own = row * 45..<(row + 1) * 45
            let expected = own.reduce(0.0) { $0 + Double(gradient.values[$1]) * Double(error.values[$1]) }
            // 45 products of a normal number and an error below 1, summed in Float32.
            expectClose([products[row]], [expected], .float32Reduction(n: 45, magnitude: 45))
        }
    }

    /// Random probes per score in `linear()`.
    private static let probes = 400
    /// Two standard errors of a mean of squares of normal numbers over the probes, relative to the mean.
    private static let probeError = 2 * (2 / Double(probes)).squareRoot()
    /// The least rank correlation between score and measurement. Between independent ranks of more than 30 layers it
    /// has a standard deviation below 0.19.
    private static let leastRankCorrelation = 0.8

    @Test("for the last layer, which is linear, the mean over many probes is the measured sensitivity", .slow)
    func linear() throws {
        let pipeline = try TinyModel.pipeline()
        pipeline.denoiser.store.setTrainable(false)
        let calibration = try CalibrationSet(promptCount: 3, pipeline: pipeline)
        let inputs = PredictionInputs.noised(
            pipeline.initialNoise(seeds: calibration.seeds), channels: 3, calibration: calibration,
            timestepsPerImage: 2,
            stream: .measuring,
            guidanceScale: 1.5, schedule: try pipeline.noiseSchedule(), batchSize: 4)
        let passes = try StagedPredictions(pipeline.stagedDenoiser(), inputs, memoryLimit: 0) {}
        let layer = try #require(pipeline.denoiser.store.layer(at: "conv_out"))
        let bits = BitWidth(2)
        let score = try FisherScore(passes: passes, schedule: pipeline.noiseSchedule(), probes: Self.probes)
            .scores(of: [layer], bits: { _ in [bits] }) {}
        let predicted = try #require(score[SensitivityCandidate(path: "conv_out", bits: bits)])
        let original = layer.weight
        defer { layer.weight = original }
        layer.weight = FakeQuantizedWeight(
            latent: Parameter("w", original.tensor(), isTrainable: false), bits: bits,
            initialization: .paper)
        let measured = try #require(
            NoisePredictionSensitivity(passes: passes, schedule: pipeline.noiseSchedule()).measure(from: nil) {})
        // Output channels of the last layer are outputs of the model: nothing couples them.
        #expect(abs(predicted / measured - 1) < Self.probeError, "\(predicted) against \(measured)")
    }

    @Test("the score orders candidates much as the measured sensitivity does, and gives the same bits again", .slow)
    func order() throws {
        func run() throws -> SensitivityTable {
            try #require(try tinySweep(TinyModel.pipeline(), bits: [1, 2], measures: [.noise, .fisher]).run())
        }
        let table = try run()
        for bits in [1, 2] {
            let measures = table.layers.compactMap { $0.bits[BitWidth(bits)] }
            let (measured, predicted) = (measures.compactMap(\.noise), measures.compactMap(\.fisher))
            #expect(measured.count == predicted.count && measured.count > 30)
            #expect(try #require(spearmanCorrelation(measured, predicted)) > Self.leastRankCorrelation)
        }
        #expect(try run().layers == table.layers)
        let alone = try #require(try tinySweep(TinyModel.pipeline(), bits: [1, 2], measures: [.fisher]).run())
        for (own, both) in zip(alone.layers, table.layers) {
            #expect(own.bits.mapValues(\.fisher) == both.bits.mapValues(\.fisher))
            #expect(own.bits.values.allSatisfy { $0.noise == nil && $0.mse == nil })
        }
    }
}
