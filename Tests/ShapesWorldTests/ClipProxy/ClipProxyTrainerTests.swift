// SPDX-License-Identifier: Apache-2.0
// Training of a tiny CLIP-proxy: convergence, reproducibility, resumed runs, configs and batches.

import Checkpoints
import Evaluation
import Foundation
import Networks
import Optimizers
import Recipes
import Tensors
import TestKit
import Testing

@testable import QAT
@testable import ShapesWorld

/// A config that trains in seconds in a debug build.
private func tinyConfig(steps: Int, batchSize: Int = 16, hardNegatives: Int = 1) throws -> ClipProxyTrainingConfig {
    let text = try TinyModel.textConfig(hiddenSize: 16)
    let model = try ClipProxyConfig(
        textConfig: text, visionChannels: [8, 16, 16], visionStrides: [2, 2, 2], normNumGroups: 4,
        projectionDim: 16)
    return ClipProxyTrainingConfig(
        model: model, hardNegatives: hardNegatives,
        training: TrainingOptions(
            steps: steps, batchSize: batchSize, learningRate: 5e-3,
            schedule: LearningRateSchedule(warmupSteps: 5), averageDecay: 0.9, seed: 3))
}

/// Runs a trainer to its end, or until `stop` steps are complete.
private func run(_ trainer: ClipProxyTrainer, until stop: Int = .max) throws {
    try trainer.run(progress: { _, _, _ in }, save: {}, shouldStop: { trainer.loop.step >= stop })
}

@Suite struct ClipProxyTrainerTests {
    private let manifest = RunManifest(toolVersion: "0", commandLine: ["test"], seed: 3, inputs: [])

    @Test("a short run lowers the loss and separates true captions from those of other images", .slow) func learns()
        throws
    {
        let trainer = try ClipProxyTrainer(tinyConfig(steps: 200))
        try run(trainer)
        let losses = trainer.loop.history.map(\.loss)
        #expect(losses.count == 4)
        #expect(losses[3] < losses[0] - 0.3, "\(losses)")
        let accuracy = ClipProxyAccuracy(of: trainer.model, on: ShapesDataset(seed: 99), samples: 100)
        #expect(accuracy.matched.mean > accuracy.mismatched.mean + 0.05)
    }

    @Test("weights depend on config and seed only") func repeats() throws {
        func weights(seed: UInt64) throws -> [[Float]] {
            var config = try tinyConfig(steps: 3)
            config.training.seed = seed
            let trainer = try ClipProxyTrainer(config)
            try run(trainer)
            return trainer.model.store.parameters.map(\.value.values)
        }
        let first = try weights(seed: 1)
        #expect(try weights(seed: 1) == first)
        #expect(try weights(seed: 2) != first)
    }

    @Test("a resumed run ends with the same bits as an uninterrupted one") func resumes() throws {
        let uninterrupted = try ClipProxyTrainer(tinyConfig(steps: 6))
        try run(uninterrupted)
        let interrupted = try ClipProxyTrainer(tinyConfig(steps: 6))
        try run(interrupted, until: 3)
        #expect(interrupted.loop.step == 3)
        try TemporaryFolder.with { folder in
            let path = folder.file("clip.h5")
            try interrupted.write(to: path, manifest: manifest)
            let resumed = try ClipProxyTrainer(tinyConfig(steps: 6))
            #expect(try resumed.resume(from: path))
            #expect(resumed.loop.step == 3)
            try run(resumed)
            for (one, other) in zip(uninterrupted.model.store.parameters, resumed.model.store.parameters) {
                #expect(one.value.values == other.value.values, "\(one.name)")
            }
            #expect(
                uninterrupted.loop.average?.averages.mapValues(\.values)
                    == resumed.loop.average?.averages.mapValues(\.values))
            #expect(uninterrupted.loop.history == resumed.loop.history)
        }
    }

    @Test("the file of a finished run has the averaged weights and no training state") func finished() throws {
        let trainer = try ClipProxyTrainer(tinyConfig(steps: 2))
        try run(trainer)
        try TemporaryFolder.with { folder in
            let path = folder.file("clip.h5")
            try trainer.write(to: path, manifest: manifest)
            let written = try ClipProxy(file: path).store.parameters.map(\.value.values)
            #expect(written == trainer.withFinalWeights { $0.store.parameters.map(\.value.values) })
            #expect(try !ClipProxyTrainer(tinyConfig(steps: 2)).resume(from: path))
        }
    }

    @Test("the file of a run with another config is rejected") func anotherRun() throws {
        let trainer = try ClipProxyTrainer(tinyConfig(steps: 4))
        try run(trainer, until: 2)
        try TemporaryFolder.with { folder in
            let path = folder.file("clip.h5")
            try trainer.write(to: path, manifest: manifest)
            let other = try ClipProxyTrainer(tinyConfig(steps: 4, hardNegatives: 2))
            #expect(throws: TrainingStateError.self) { try other.resume(from: path) }
            var otherInterval = try tinyConfig(steps: 4)
            otherInterval.training.saveEvery += 1
            #expect(try ClipProxyTrainer(otherInterval).resume(from: path))
        }
    }

    @Test("all parameters, the temperature included, have a gradient") func gradients() throws {
        let trainer = try ClipProxyTrainer(tinyConfig(steps: 1))
        var random = Philox(seed: 3)
        trainer.loss(ofStep: 0, random: &random).total.backward()
        for parameter in trainer.model.store.parameters {
            // The bias of keys adds a constant to all scores of a query, and softmax is invariant to it.
            if parameter.name.hasSuffix("k_proj.bias") { continue }
            #expect(parameter.gradient?.values.contains { $0 != 0 } == true, "\(parameter.name)")
        }
    }

    @Test("the factor of the loss is at most the inverse of the minimum temperature") func temperature() throws {
        let trainer = try ClipProxyTrainer(tinyConfig(steps: 1))
        trainer.model.logitScale.value = Tensor([7], shape: [1])
        var random = Philox(seed: 3)
        let loss = trainer.loss(ofStep: 0, random: &random)
        #expect(abs((loss.parts["scale"] ?? 0) - 100) < 1e-3)
    }

    @Test("the final weights are the moving average, and the current values are restored") func averages() throws {
        let trainer = try ClipProxyTrainer(tinyConfig(steps: 4))
        try run(trainer)
        let values = trainer.model.store.parameters.map(\.value.values)
        let averages = trainer.withFinalWeights { $0.store.parameters.map(\.value.values) }
        #expect(averages != values)
        #expect(trainer.model.store.parameters.map(\.value.values) == values)
    }
}

@Suite struct ClipProxyTrainingConfigTests {
    @Test("a config is equal after writing and reading") func roundTrip() throws {
        let config = try tinyConfig(steps: 7)
        let again = try JSONDecoder().decode(ClipProxyTrainingConfig.self, from: JSONEncoder().encode(config))
        #expect(again == config)
    }

    @Test("values out of range are errors that name the key") func invalid() throws {
        let config = try tinyConfig(steps: 7)
        let changes: [(String, (inout ClipProxyTrainingConfig) throws -> Void)] = [
            ("hardNegatives", { $0.hardNegatives = -1 }),
            ("imageNoise", { $0.imageNoise = .nan }),
            ("initialTemperature", { $0.initialTemperature = 0 }),
            ("minimumTemperature", { $0.minimumTemperature = 0.5 }),
            ("training.batchSize", { $0.training.batchSize = 1 }),
            ("training.steps", { $0.training.steps = 0 }),
            ("training.checkpointing", { $0.training.checkpointing = .blocks }),
            ("model.text_config.vocab_size", { $0.model = try Self.model(words: 25) }),
            ("model.text_config.max_position_embeddings", { $0.model = try Self.model(length: 8) }),
        ]
        try config.validate()
        for (key, change) in changes {
            var changed = config
            try change(&changed)
            let error = #expect(throws: TrainingConfigError.self) { try changed.validate() }
            #expect(error?.description.contains(key) == true, "\(key)")
        }
    }

    private static func model(
        words: Int = ShapesTokenizer.vocabularySize, length: Int = 12
    ) throws -> ClipProxyConfig {
        try ClipProxyConfig(
            textConfig: TinyModel.textConfig(vocabSize: words, maxPositionEmbeddings: length, hiddenSize: 16))
    }
}

@Suite struct ClipProxyBatchTests {
    private let dataset = ShapesDataset(seed: 5)
    private let batch: ClipProxyBatch

    init() {
        batch = ClipProxyBatch(
            ShapesDataset(seed: 5), from: 32, count: 64, hardNegatives: 2, tokenizer: ShapesTokenizer())
    }

    @Test("captions match unless they contradict, and a caption matches itself") func mayMatch() {
        for i in 0..<64 {
            for j in 0..<64 {
                let contradicts = dataset.caption(at: 32 + i).contradicts(dataset.caption(at: 32 + j))
                #expect(batch.mayMatch[i * 64 + j] == !contradicts)
            }
        }
        #expect((0..<64).allSatisfy { batch.mayMatch[$0 * 65] })
        #expect(batch.mayMatch.contains(false))
    }

    @Test("hard negatives are false captions of their image") func hardNegatives() throws {
        let tokenizer = ShapesTokenizer()
        let length = tokenizer.length
        #expect(batch.hardNegatives.count == 128 * length)
        for index in 0..<128 {
            let ids = Array(batch.hardNegatives[index * length..<(index + 1) * length])
            let caption = try SceneCaption(parsing: tokenizer.decode(ids))
            #expect(caption.contradicts(dataset.caption(at: 32 + index / 2)))
        }
    }

    @Test("images and captions are those of the data set") func pairs() {
        #expect(batch.pairs.pixels.shape == [64, 3, 32, 32])
        let sample = dataset.sample(at: 40)
        #expect(Array(batch.pairs.tokens[8 * 12..<9 * 12]) == ShapesTokenizer().encode(sample.caption))
        #expect(batch.pairs.pixels.sliced(axis: 0, 8..<9).values == sample.image.modelRange)
    }
}
