// SPDX-License-Identifier: Apache-2.0
// Validation on generated images: indices of their own, and training that does not depend on it.

import BitsFusion
import Optimizers
import TestKit
import Testing

@testable import QAT
@testable import ShapesWorld

@Suite struct ShapesValidationTests {
    @Test("training data do not change, and validation samples have negative indices")
    func split() throws {
        let data = try ShapesDistillationData(ShapesDataset(seed: 8), pipeline: TinyModel.pipeline())
        #expect(data.sampleCount == nil)
        let (training, validation) = data.split(validation: 4, seed: 1)
        func samples(_ data: any DistillationData, _ indices: Range<Int>) throws -> [Float] {
            var random = Philox(seed: 0)
            return try data.batch(indices, textDropping: 0, random: &random).samples.values
        }
        #expect(try samples(training, 3..<9) == samples(data, 3..<9))
        let first = ShapesDataset.firstValidationIndex
        #expect(first < 0)
        #expect(try samples(validation, 0..<4) == samples(data, first..<first + 4))
        #expect(try samples(validation, 2..<4) == samples(data, first + 2..<first + 4))
    }

    private func trainer(validationSize: Int, microBatchSize: Int? = nil) throws -> TeacherTrainer {
        let config = TeacherTrainingConfig(
            unet: "unet.json", textEncoder: try TinyModel.textConfig(), schedule: NoiseSchedule(),
            mixture: [.singleObject: 1], textDropping: 0.1, timesteps: TimestepDistribution(alpha: 1, beta: 1),
            weighting: LossWeighting(maximumWeight: 5),
            training: TrainingOptions(
                steps: 3, batchSize: 4, microBatchSize: microBatchSize, learningRate: 2e-3,
                schedule: LearningRateSchedule(warmupSteps: 1), averageDecay: 0.9, seed: 3))
        return try TeacherTrainer(config, unetConfig: TinyModel.config(), validationSize: validationSize)
    }

    @Test("the validation of a full-precision model repeats, and does not change its training")
    func teacher() throws {
        let (plain, validated) = (try trainer(validationSize: 0), try trainer(validationSize: 6))
        #expect(plain.validationLoss() == nil)
        let first = try #require(validated.validationLoss())
        #expect(validated.validationLoss() == first && first.loss > 0)
        let small = try #require(try trainer(validationSize: 6, microBatchSize: 2).validationLoss())
        expectClose([small.loss], [first.loss], .output)
        #expect(validated.validationLoss(shouldStop: { true }) == nil)
        try plain.run()
        try validated.run(progress: { _, _, _ in _ = validated.validationLoss() })
        #expect(validated.model.components.map(\.store.bits) == plain.model.components.map(\.store.bits))
        #expect(validated.validationLoss() != first)
    }
}
