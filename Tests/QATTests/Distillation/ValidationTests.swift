// SPDX-License-Identifier: Apache-2.0
// The loss on held-out samples: the same noise each time, lower after training, and without effect on the training.

import DataSets
import Foundation
import Pipelines
import Schedulers
import ShapesWorld
import Tensors
import TestKit
import Testing

@testable import QAT

@Suite struct ValidationTests {
    private func trainer(
        _ stage: DistillationStage, size: Int = 7, microBatchSize: Int? = nil, steps: Int = 6,
        averageDecay: Float? = nil, data: (any DistillationData)? = nil
    ) throws -> DistillationTrainer {
        var options = TinyDistillation.options(steps: steps, averageDecay: averageDecay)
        options.training.microBatchSize = microBatchSize
        return try DistillationTrainer(
            student: TinyDistillation.student(), teacher: stage == .one ? TinyDistillation.teacher() : nil,
            data: data ?? TinyDistillation.data(), stage: stage, options: options, validationSize: size)
    }

    @Test(
        "the loss is that of the stage, the same at each call, and not of the micro-batch size",
        arguments: DistillationStage.allCases)
    func repeats(stage: DistillationStage) throws {
        let trainer = try trainer(stage)
        let first = try #require(try trainer.validationLoss())
        #expect(try trainer.validationLoss() == first)
        #expect(first.parts.keys.sorted() == (stage == .one ? ["feature", "noise"] : ["noise"]))
        let weight = stage == .one ? trainer.options.featureWeight * (first.parts["feature"] ?? 0) : 0
        expectClose([first.loss], [(first.parts["noise"] ?? 0) + weight], .output)
        for size in [1, 3] {
            let other = try #require(try self.trainer(stage, microBatchSize: size).validationLoss())
            expectClose([other.loss], [first.loss], .output)
        }
        #expect(try trainer.validationLoss(shouldStop: { true }) == nil)
        #expect(try #require(try trainer.validationLoss(limit: 3)) != first)
        #expect(try TinyDistillation.trainer(stage).validationLoss() == nil, "a run without validation")
    }

    @Test("training lowers it", arguments: DistillationStage.allCases)
    func learns(stage: DistillationStage) throws {
        let trainer = try trainer(stage, steps: 30)
        let before = try #require(try trainer.validationLoss()).loss
        try TinyDistillation.run(trainer)
        let after = try #require(try trainer.validationLoss()).loss
        #expect(after < before, "\(before) to \(after)")
    }

    @Test("it is the loss of the averaged weights, which are shipped")
    func average() throws {
        let trainer = try trainer(.two, averageDecay: 0.9)
        try TinyDistillation.run(trainer)
        let shipped = try #require(try trainer.validationLoss())
        let other = try self.trainer(.two, averageDecay: nil)
        try TinyDistillation.run(other)
        #expect(other.model.denoiser.store.bits == trainer.model.denoiser.store.bits)
        #expect(try other.validationLoss() != shipped)
    }

    @Test(
        "validation and sampling between steps leave the training bit-equal, also in a resumed run", .slow,
        arguments: DistillationStage.allCases, [nil, 0.9] as [Float?])
    func undisturbed(stage: DistillationStage, averageDecay: Float?) throws {
        let folder = try TemporaryFolder()
        func observe(_ trainer: DistillationTrainer) throws {
            #expect(try trainer.validationLoss() != nil)
            var random = Philox(seed: 3)
            let shape = [2, 5, TinyModel.crossAttentionDim]
            let conditions = PromptEmbeddings(conditional: random.normal(shape), unconditional: random.normal(shape))
            try trainer.withFinalWeights {
                _ = try $0.generate(conditions, seeds: [1, 2], options: GenerationOptions(steps: 2))
            }
        }
        func run(_ trainer: DistillationTrainer, observed: Bool, until stop: Int = .max) throws {
            var failure: (any Error)?
            try trainer.run(
                progress: { _, _, _ in
                    do { if observed { try observe(trainer) } } catch { failure = error }
                }, shouldStop: { trainer.loop.step >= stop })
            if let failure { throw failure }
        }
        let plain = try trainer(stage, averageDecay: averageDecay)
        try run(plain, observed: false)
        let observed = try trainer(stage, averageDecay: averageDecay)
        try observe(observed)
        try run(observed, observed: true)
        let interrupted = try trainer(stage, averageDecay: averageDecay)
        try run(interrupted, observed: true, until: 3)
        try interrupted.write(to: folder.file("part.h5"), manifest: TinyModel.manifest)
        let resumed = try trainer(stage, averageDecay: averageDecay)
        #expect(try resumed.resume(from: folder.file("part.h5")))
        try run(resumed, observed: true)
        for (name, trainer) in [("plain", plain), ("observed", observed), ("resumed", resumed)] {
            try trainer.write(to: folder.file("\(name).h5"), manifest: TinyModel.manifest)
        }
        #expect(try folder.data("observed.h5") == folder.data("plain.h5"))
        #expect(try folder.data("resumed.h5") == folder.data("plain.h5"))
        #expect(try resumed.validationLoss() == plain.validationLoss())
    }

    @Test("a resumed run needs the same number of held-out samples, where these are missing from the training data")
    func identity() throws {
        let folder = try TemporaryFolder(), path = folder.file("student.h5")
        let first = try trainer(.two)
        try TinyDistillation.run(first, until: 1)
        try first.write(to: path, manifest: TinyModel.manifest)
        for size in [0, 8] {
            let error = #expect(throws: TrainingStateError.self) { try trainer(.two, size: size).resume(from: path) }
            let saved = SettingDifference(
                key: "validationSize", saved: "7", requested: size == 0 ? "none" : "\(size)")
            #expect(error == .differentRun([saved]))
        }
        #expect(try trainer(.two).resume(from: path))
        func endless(_ size: Int) throws -> DistillationTrainer {
            let data = try ShapesDistillationData(ShapesDataset(seed: 8), pipeline: TinyDistillation.teacher())
            return try trainer(.two, size: size, data: data)
        }
        let generated = try endless(4)
        try TinyDistillation.run(generated, until: 1)
        try generated.write(to: path, manifest: TinyModel.manifest)
        #expect(try endless(0).resume(from: path))
    }

    @Test("at least one sample remains for training")
    func size() throws {
        #expect([nil, 10_000, 640, 100, 21, 2].map(defaultValidationSize) == [32, 32, 32, 5, 1, 1])
        for size in [-1, 24] {
            let error = #expect(throws: TrainingConfigError.self) { try trainer(.two, size: size) }
            #expect(
                error
                    == .range(
                        key: "validationSize", value: "\(size)",
                        expected: "0 to 23, fewer than the 24 samples of the data"))
        }
    }

    @Test("timesteps cover the distribution, and noise is a function of the sample")
    func draws() {
        let draws = ValidationDraws(16, from: .paper, trainTimesteps: 1000, seed: 5)
        let other = ValidationDraws(16, from: .paper, trainTimesteps: 1000, seed: 6)
        #expect(draws.timesteps.count == 16 && draws.timesteps != other.timesteps)
        #expect(draws.timesteps != draws.timesteps.sorted(), "in random order")
        #expect(draws.timesteps.contains { $0 < 500 } && draws.timesteps.contains { $0 > 950 })
        let whole = draws.noise([6, 3, 2, 2], from: 0).values
        #expect(draws.noise([2, 3, 2, 2], from: 0).values + draws.noise([4, 3, 2, 2], from: 2).values == whole)
        #expect(other.noise([6, 3, 2, 2], from: 0).values != whole)
    }
}
