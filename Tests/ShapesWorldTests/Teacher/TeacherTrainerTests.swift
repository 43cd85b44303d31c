// SPDX-License-Identifier: Apache-2.0
// Training of a tiny full-precision model on the shapes world: it learns, resumes bit by bit, and refuses bad recipes.

import Foundation
import Layers
import Optimizers
import Pipelines
import Recipes
import Schedulers
import Tensors
import TestKit
import Testing

@testable import QAT
@testable import ShapesWorld

@Suite struct TeacherTrainerTests {
    private func recipe(steps: Int = 4, _ change: (inout TeacherTrainingConfig) -> Void = { _ in }) throws
        -> TeacherTrainingConfig
    {
        var recipe = TeacherTrainingConfig(
            unet: "unet.json", textEncoder: try TinyModel.textConfig(), schedule: NoiseSchedule(),
            mixture: [.singleObject: 1], textDropping: 0.1, timesteps: TimestepDistribution(alpha: 1, beta: 1),
            weighting: LossWeighting(maximumWeight: 5),
            training: TrainingOptions(
                steps: steps, batchSize: 2, learningRate: 2e-3,
                schedule: LearningRateSchedule(warmupSteps: 1), averageDecay: 0.9, seed: 3))
        change(&recipe)
        return recipe
    }

    private func trainer(_ recipe: TeacherTrainingConfig) throws -> TeacherTrainer {
        try TeacherTrainer(recipe, unetConfig: TinyModel.config())
    }

    private func run(_ trainer: TeacherTrainer, until stop: Int = .max) throws {
        try trainer.run(progress: { _, _, _ in }, save: {}, shouldStop: { trainer.loop.step >= stop })
    }

    private func bits(_ trainer: TeacherTrainer) -> [[String: [UInt32]]] {
        trainer.model.stores.map(\.bits)
    }

    @Test("UNet and text encoder both train, from weights that follow from the seed")
    func trains() throws {
        let trainer = try trainer(recipe())
        let before = bits(trainer)
        #expect(try bits(self.trainer(recipe())) == before)
        #expect(try bits(self.trainer(recipe { $0.training.seed = 4 })) != before)
        try run(trainer)
        for (store, old) in zip(bits(trainer), before) {
            // A key's bias moves all scores of a query alike, which softmax does not see.
            let still = store.filter { $0.value == old[$0.key] }.map(\.key).filter {
                !$0.hasSuffix("k_proj.bias")
            }
            #expect(still.allSatisfy { $0.hasPrefix("embeddings.") }, "\(still)")
        }
    }

    @Test(
        "a run resumed from its file ends bit-equal to an uninterrupted one, and the file holds the average")
    func resumes() throws {
        let whole = try trainer(recipe())
        try run(whole)
        let folder = try TemporaryFolder(), path = folder.file("teacher.h5")
        let interrupted = try trainer(recipe())
        try run(interrupted, until: 2)
        try interrupted.write(to: path, manifest: TinyModel.manifest)
        #expect(
            try DiffusionPipeline(contentsOf: path).seenBits == interrupted.withFinalWeights { $0.seenBits })
        let resumed = try trainer(recipe())
        #expect(try resumed.resume(from: path))
        try run(resumed)
        #expect(bits(resumed) == bits(whole))
        #expect(
            resumed.loop.average?.averages.mapValues(\.values)
                == whole.loop.average?.averages.mapValues(\.values))
        #expect(resumed.loop.history == whole.loop.history)
        try resumed.write(to: path, manifest: TinyModel.manifest)
        #expect(try !trainer(recipe()).resume(from: path), "finished")
        #expect(try DiffusionPipeline(contentsOf: path).seenBits == whole.withFinalWeights { $0.seenBits })
    }

    @Test("checkpointing changes no bit, the text encoder's gradients through the blocks included")
    func checkpointing() throws {
        let (plain, lean) = (
            try trainer(recipe()), try trainer(recipe { $0.training.checkpointing = .blocks })
        )
        #expect(lean.model.denoiser.checkpointing == .blocks)
        for trainer in [plain, lean] { try run(trainer) }
        #expect(bits(plain) == bits(lean))
        #expect(plain.loop.history == lean.loop.history)
    }

    @Test("the file of another recipe is refused")
    func anotherRun() throws {
        let folder = try TemporaryFolder(), path = folder.file("teacher.h5")
        let first = try trainer(recipe())
        try run(first, until: 1)
        try first.write(to: path, manifest: TinyModel.manifest)
        for other in [try recipe { $0.textDropping = 0.2 }, try recipe { $0.training.batchSize = 3 }] {
            #expect(throws: TrainingStateError.self) { try trainer(other).resume(from: path) }
        }
    }

    @Test("errors are weighted by min(1/ā, maximum), so that 1 is the plain loss")
    func weighting() throws {
        let weighting = LossWeighting(maximumWeight: 5)
        #expect([1, 0.5, 0.2, 0.1, 0].map(weighting.weight) == [1, 2, 5, 5, 5])
        let (plain, weighted) = (
            try trainer(recipe { $0.weighting = LossWeighting(maximumWeight: 1) }), try trainer(recipe())
        )
        var losses: [Float] = []
        for trainer in [plain, weighted] {
            try trainer.run(
                progress: { _, _, record in losses.append(record.loss) }, save: {}, shouldStop: { true })
        }
        #expect(losses[1] > losses[0])
    }

    @Test("recipes that cannot be followed are refused by name")
    func recipes() throws {
        let changes: [(String, (inout TeacherTrainingConfig) -> Void)] = [
            ("textDropping", { $0.textDropping = -0.1 }), ("timesteps.alpha", { $0.timesteps.alpha = 0 }),
            ("weighting.maximumWeight", { $0.weighting.maximumWeight = 0.5 }),
            ("training.steps", { $0.training.steps = 0 }),
        ]
        for (key, change) in changes {
            let error = #expect(throws: TrainingConfigError.self) { try trainer(recipe(change)) }
            guard case .range(let named, _, _) = error else {
                Issue.record("\(key): \(String(describing: error))")
                continue
            }
            #expect(named == key)
        }
        #expect(throws: TrainingConfigError.self) { try trainer(recipe { $0.mixture = [:] }) }
        #expect(throws: TrainingConfigError.self) {
            try TeacherTrainer(recipe(), unetConfig: TinyModel.config(channels: 4))
        }
    }
}
