// SPDX-License-Identifier: Apache-2.0
// Losses and gradients of both stages against PyTorch and diffusers, for every kind of model that distillation trains,
// and the losses of 50 steps of stage I.
// Fixtures: python Tests/Fixtures/make_stage_one_fixtures.py (torch 2.15.0, diffusers 0.42.1).

import DataSets
import Foundation
import Layers
import Networks
import Optimizers
import Pipelines
import Quantization
import Recipes
import Schedulers
import Tensors
import TestKit
import Testing

@testable import QAT

/// One `stage-*.json`.
private struct StageFixture: Decodable {
    struct Stage: Decodable {
        let noise: Double
        let feature: Double?
        let gradients: [String: [Double]]
    }

    let config: UNet2DConditionConfig
    let predictionType: PredictionType
    let rescaleBetasZeroSNR: Bool
    let timesteps: [Int]
    /// Whether each sample loses its text.
    let dropped: [Bool]
    let timeIDs: [[Float]]?
    let featureWeight: Float
    let featureLoss: FeatureLoss
    let bits: [String: Int]
    let stageOne: Stage
    let stageTwo: Stage

    static let names = ["sd1", "sd2-v", "sd2-zero-snr", "sdxl", "inpainting"]
    static let (tokens, pooled) = (5, 10)

    var count: Int { dropped.count }

    func teacher() throws -> UNet2DConditionModel {
        try UNet2DConditionModel(
            config: config, parameters: ParameterPath(ParameterStore(provider: FixtureParameterProvider())))
    }

    /// A model near the teacher, with the scales of `make_stage_one_fixtures.py`.
    func student() throws -> UNet2DConditionModel {
        let model = try teacher()
        for parameter in model.store.parameters {
            let change = fixtureUniform("student." + parameter.name, parameter.shape)
            parameter.value = Tensor(
                zip(parameter.value.values, change).map { $0 + $1 / 32 }, shape: parameter.shape)
        }
        let widths = bits.map { (LayerID($0), BitWidth($1)) }
        try model.quantize(recipe: BitRecipe(layers: Dictionary(uniqueKeysWithValues: widths)), initialization: .minMax)
        for layer in model.quantizedLayers {
            let weight = try #require(layer.weight as? FakeQuantizedWeight)
            let (rows, length) = (weight.shape[0], weight.latent.value.count / weight.shape[0])
            let values = weight.latent.value.values
            let scales = (0..<rows).map { row in
                let largest = values[row * length..<(row + 1) * length].map(abs).max() ?? 0
                return largest / Float(weight.grid.maximumCode) * 0.6875
            }
            weight.scaleParameter.value = Tensor(scales, shape: [rows])
        }
        return model
    }

    /// The batch, in which a data set has replaced the texts of dropped samples.
    func batch() throws -> DistillationBatch {
        let (contextShape, textShape) = ([count, Self.tokens, config.contextSize], [count, Self.pooled])
        let (context, latents) = (
            fixtureUnit("context", contextShape), fixtureUnit("latents", [count, config.inChannels, 8, 8])
        )
        let emptyShape = [1] + contextShape.dropFirst()
        let empty = timeIDs == nil ? fixtureUnit("empty", emptyShape) : .zeros(emptyShape)
        let text = fixtureUnit("text", textShape)
        let rows = try dropped.enumerated().map { row, isDropped in
            let added = timeIDs.map { sizes in
                StoredAddedConditions(
                    textEmbeds: text.sliced(axis: 0, row..<row + 1),
                    emptyTextEmbeds: fixtureUnit("empty_text", [1, Self.pooled]),
                    timeIDs: Tensor(sizes[row], shape: [1, 6]))
            }
            let data = StoredDistillationData(
                latents: latents.sliced(axis: 0, row..<row + 1),
                encoderHiddenStates: context.sliced(axis: 0, row..<row + 1), emptyHiddenStates: empty,
                addedConditions: added)
            var random = Philox(seed: 1)
            return try data.batch(0..<1, textDropping: isDropped ? 1 : 0, random: &random)
        }
        func joined(_ parts: [Tensor]) -> Tensor { .concatenated(parts, axis: 0) }
        let added = rows.compactMap(\.addedConditions)
        return DistillationBatch(
            samples: joined(rows.map(\.samples)), encoderHiddenStates: joined(rows.map(\.encoderHiddenStates)),
            addedConditions: added.isEmpty
                ? nil
                : AddedConditions(
                    textEmbeds: joined(added.map(\.textEmbeds)), timeIDs: joined(added.map(\.timeIDs))))
    }

    func objective(_ stage: DistillationStage, student: UNet2DConditionModel) throws -> DistillationObjective {
        DistillationObjective(
            teacher: stage == .one ? try teacher() : nil, student: student,
            schedule: NoiseSchedule(predictionType: predictionType, rescalesBetasZeroSNR: rescaleBetasZeroSNR),
            data: TinyDistillation.data(for: config), stage: stage,
            options: TinyDistillation.options(featureWeight: featureWeight, featureLoss: featureLoss))
    }
}

/// `stage-curve.json`: settings and losses of 50 steps.
private struct CurveFixture: Decodable {
    let steps, warmupSteps: Int
    let learningRate, scaleLearningRate, beta1, beta2, weightDecay, finalFactor, maximumGradientNorm: Float
    let losses, gradientNorms: [Double]

    var options: TrainingOptions {
        TrainingOptions(
            steps: steps, batchSize: 3, learningRate: learningRate,
            schedule: LearningRateSchedule(warmupSteps: warmupSteps, finalFactor: finalFactor),
            weightDecay: weightDecay, beta1: beta1, beta2: beta2, maximumGradientNorm: maximumGradientNorm)
    }
}

@Suite(.tags(.golden, .gradient)) struct StageParityTests {
    @Test(
        "the losses of 50 steps of stage I are those of the same training in PyTorch, also with sums in fixed point",
        arguments: [3, 1])
    func curve(microBatchSize: Int) throws {
        let (fixture, curve): (StageFixture, CurveFixture) = try (
            fixture("stage-sd1", in: .module), fixture("stage-curve", in: .module)
        )
        let (student, batch) = try (fixture.student(), fixture.batch())
        let objective = try fixture.objective(.one, student: student)
        let (weights, scales) = student.prepareForDistillation()
        var options = curve.options
        options.microBatchSize = microBatchSize
        let loop = TrainingLoop(
            options,
            groups: [
                ParameterGroup(weights, learningRate: curve.learningRate, weightDecay: curve.weightDecay),
                ParameterGroup(
                    scales, learningRate: curve.scaleLearningRate, minimum: FakeQuantizedWeight.smallestScale),
            ])
        var metrics: [StepMetrics] = []
        try loop.run(
            objective: { part, _ in
                let rows = part.samples.lowerBound - 3 * part.step..<part.samples.upperBound - 3 * part.step
                let times = rows.map { fixture.timesteps[($0 + part.step) % 3] }
                let samples = batch.samples.sliced(axis: 0, rows)
                let states = batch.encoderHiddenStates.sliced(axis: 0, rows)
                return objective.loss(
                    of: DistillationBatch(samples: samples, encoderHiddenStates: states), timesteps: times
                ) { shape in
                    fixtureUnit("noise-\(part.step)", [3] + shape.dropFirst()).sliced(axis: 0, rows)
                }
            }, progress: { _, _, _ in metrics += [loop.latest].compactMap { $0 } })
        let tolerance = Tolerance(absolute: 0, relative: 1e-3)
        expectClose(metrics.map(\.loss), curve.losses, tolerance, "loss")
        expectClose(metrics.map(\.gradientNorm), curve.gradientNorms, Tolerance(absolute: 0, relative: 1e-2), "norm")
        #expect(curve.losses.count == 50 && curve.losses[49] < 0.5 * curve.losses[0])
    }

    @Test(
        "losses and all gradients of both stages agree with PyTorch", arguments: StageFixture.names,
        DistillationStage.allCases)
    func parity(name: String, stage: DistillationStage) throws {
        let fixture: StageFixture = try fixture("stage-\(name)", in: .module)
        let expected = stage == .one ? fixture.stageOne : fixture.stageTwo
        let student = try fixture.student()
        let (weights, scales) = student.prepareForDistillation()
        #expect(scales.count == fixture.bits.count)
        let noise = fixtureUnit("noise", [fixture.count, fixture.config.outChannels, 8, 8])
        let loss = try fixture.objective(stage, student: student)
            .loss(of: fixture.batch(), timesteps: fixture.timesteps) { _ in noise }
        let total = expected.noise + Double(fixture.featureWeight) * (expected.feature ?? 0)
        expectClose([loss.parts["noise"] ?? .nan], [expected.noise], .trainingLoss, "noise loss")
        #expect((loss.parts["feature"] == nil) == (expected.feature == nil))
        if let feature = expected.feature {
            expectClose([loss.parts["feature"] ?? .nan], [feature], .trainingLoss, "feature loss")
        }
        expectClose([loss.total.item], [total], .trainingLoss, "loss")
        loss.total.backward()
        expectGradients(of: weights + scales, expected.gradients, .trainingGradient)
        #expect(student.store.parameters.count > weights.count + scales.count)
    }

    @Test("the drawn loss of a step is the loss of the batch, timesteps and noise that it draws")
    func drawn() throws {
        let fixture: StageFixture = try fixture("stage-inpainting", in: .module)
        let objective = try fixture.objective(.two, student: fixture.student())
        let part = MicroBatch(step: 0, samples: 0..<4)
        var (first, second) = (Philox(seed: 6), Philox(seed: 6))
        let batch = try objective.data.batch(
            part.samples, textDropping: objective.options.textDropping, random: &first)
        let times = objective.options.timesteps.draw(
            part.count, trainTimesteps: objective.schedule.trainTimesteps, using: &first)
        first.skipToBlock()
        let noise = first.normal([4, 4, 8, 8])
        #expect(
            try objective(part, random: &second).total.item
                == objective.loss(of: batch, timesteps: times) { _ in noise }.total.item)
    }
}
