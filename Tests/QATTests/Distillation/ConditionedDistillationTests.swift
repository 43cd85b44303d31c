// SPDX-License-Identifier: Apache-2.0
// Distillation of models that take more than noise and text: condition channels (inpainting, instruct-pix2pix) and
// added conditions (SDXL).

import DataSets
import Foundation
import Networks
import Schedulers
import Tensors
import TestKit
import Testing

@testable import QAT

@Suite struct ConditionedDistillationTests {
    private let part = MicroBatch(step: 0, samples: 0..<4)

    private func objective(
        _ stage: DistillationStage, _ config: UNet2DConditionConfig, textDropping: Float = 0
    ) throws -> DistillationObjective {
        var options = TinyDistillation.options()
        options.textDropping = textDropping
        return DistillationObjective(
            teacher: stage == .one ? try TinyModel.pipeline(config, seed: 2).denoiser : nil,
            student: try TinyModel.pipeline(config).denoiser, schedule: NoiseSchedule(),
            data: TinyDistillation.data(for: config), stage: stage, options: options)
    }

    /// The random inputs of a step, drawn as its objective draws them.
    private func inputs(
        _ objective: DistillationObjective, channels: Int
    ) throws -> (batch: DistillationBatch, clean: Tensor, noise: Tensor, times: [Int]) {
        var random = Philox(seed: 6)
        let batch = try objective.data.batch(
            part.samples, textDropping: objective.options.textDropping, random: &random)
        let times = objective.options.timesteps.draw(
            part.count, trainTimesteps: objective.schedule.trainTimesteps, using: &random)
        random.skipToBlock()
        let clean = batch.samples.sliced(axis: 1, 0..<channels)
        return (batch, clean, random.normal(clean.shape), times)
    }

    private func meanSquare(_ a: Tensor, _ b: Tensor) -> Double {
        zip(a.values, b.values).reduce(0) { $0 + pow(Double($1.0) - Double($1.1), 2) } / Double(a.count)
    }

    @Test(
        "only the predicted channels get noise, the condition channels reach both models unchanged",
        arguments: DistillationStage.allCases, [4, 5])
    func conditionChannels(stage: DistillationStage, condition: Int) throws {
        let config = try TinyModel.config(channels: 4, condition: condition)
        #expect(config.conditionChannels == condition)
        let objective = try objective(stage, config)
        let (batch, clean, noise, times) = try inputs(objective, channels: 4)
        let noisy = objective.schedule.addNoise(to: clean, noise: noise, timesteps: times)
        let input = Tensor.concatenated(
            [noisy, batch.samples.sliced(axis: 1, 4..<4 + condition)], axis: 1)
        func prediction(_ model: any Denoiser) -> Tensor {
            withoutGradients {
                model(
                    input, timesteps: Tensor(times.map(Float.init), shape: [4]),
                    encoderHiddenStates: batch.encoderHiddenStates)
            }
        }
        let target = objective.teacher.map(prediction) ?? noise
        #expect(target.shape == [4, 4, 8, 8])
        let expected = meanSquare(prediction(objective.student), target)
        var random = Philox(seed: 6)
        let found = try objective(part, random: &random).parts["noise"] ?? 0
        #expect(abs(Double(found) - expected) < 1e-5 * expected)
    }

    @Test("SDXL's conditions reach both models, and dropped captions lose both text embeddings")
    func addedConditions() throws {
        let config = try TinyModel.addedConfig()
        let data = TinyDistillation.data(for: config)
        for textDropping in [0, 0.5, 1] as [Float] {
            let objective = try objective(.one, config, textDropping: textDropping)
            let (batch, clean, noise, times) = try inputs(objective, channels: 4)
            let added = try #require(batch.addedConditions)
            #expect(added.textEmbeds.shape == [4, TinyModel.textEmbedsDim] && added.timeIDs.shape == [4, 6])
            let empty = try #require(data.addedConditions).emptyTextEmbeds.values
            for row in 0..<4 {
                let hasEmptyText =
                    added.textEmbeds.sliced(axis: 0, row..<row + 1).values == empty
                let hasEmptyStates =
                    batch.encoderHiddenStates.sliced(axis: 0, row..<row + 1).values == data.emptyHiddenStates.values
                #expect(hasEmptyText == hasEmptyStates)
                if textDropping != 0.5 { #expect(hasEmptyText == (textDropping == 1)) }
            }
            let noisy = objective.schedule.addNoise(to: clean, noise: noise, timesteps: times)
            func prediction(_ model: any Denoiser) -> Tensor {
                withoutGradients {
                    model(
                        noisy, timesteps: Tensor(times.map(Float.init), shape: [4]),
                        encoderHiddenStates: batch.encoderHiddenStates, addedConditions: added)
                }
            }
            let expected = meanSquare(
                prediction(objective.student), prediction(try #require(objective.teacher)))
            var random = Philox(seed: 6)
            let found = try objective(part, random: &random).parts["noise"] ?? 0
            #expect(abs(Double(found) - expected) < 1e-5 * expected)
        }
    }

    @Test(
        "both stages train these models: every weight and scale except time layers has a gradient and changes",
        arguments: DistillationStage.allCases, [true, false])
    func trains(stage: DistillationStage, isAdded: Bool) throws {
        let config = try isAdded ? TinyModel.addedConfig() : TinyModel.config(channels: 4, condition: 5)
        let trainer = try TinyDistillation.trainer(stage, of: config, TinyDistillation.options(steps: 2))
        let before = trainer.model.denoiser.store.bits
        var random = Philox(seed: 6)
        try trainer.loss(of: part, random: &random).total.backward()
        for parameter in trainer.model.denoiser.store.parameters {
            let isFrozen =
                trainer.model.denoiser.isTimeLayer(parameter: parameter.name) && !parameter.name.hasSuffix(".scale")
            #expect((parameter.gradient == nil) == isFrozen, "\(parameter.name)")
            #expect(parameter.gradient?.values.contains { $0 != 0 } ?? true, "\(parameter.name)")
            parameter.gradient = nil
        }
        try TinyDistillation.run(trainer)
        let after = trainer.model.denoiser.store.bits
        for (name, bits) in after {
            let isFrozen = name.contains("time_emb") || name.hasPrefix("add_embedding.")
            #expect((bits == before[name]) == isFrozen, "\(name)")
        }
        #expect(trainer.loop.history.last?.loss.isFinite == true)
    }

    @Test("a model that also predicts variances is refused", arguments: DistillationStage.allCases)
    func learnedVariance(stage: DistillationStage) throws {
        let json = String(decoding: try TinyModel.config(channels: 4).json, as: UTF8.self)
            .replacing("\"out_channels\": 4", with: "\"out_channels\": 8")
        let config = try UNet2DConditionConfig(json: Data(json.utf8))
        let error = #expect(throws: TrainingConfigError.self) { try TinyDistillation.trainer(stage, of: config) }
        guard case .unsuitableModel(key: "out_channels", value: "8", _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }
}
