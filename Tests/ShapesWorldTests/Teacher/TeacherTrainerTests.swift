// SPDX-License-Identifier: Apache-2.0
// Training of a tiny full-precision model on the shapes world: parameters change, runs resume bit-equal, and invalid
// configs are errors.

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
    private func config(steps: Int = 4, _ change: (inout TeacherTrainingConfig) -> Void = { _ in }) throws
        -> TeacherTrainingConfig
    {
        var config = TeacherTrainingConfig(
            unet: "unet.json", textEncoder: try TinyModel.textConfig(), schedule: NoiseSchedule(),
            mixture: [.singleObject: 1], textDropping: 0.1, timesteps: TimestepDistribution(alpha: 1, beta: 1),
            weighting: LossWeighting(maximumWeight: 5),
            training: TrainingOptions(
                steps: steps, batchSize: 2, learningRate: 2e-3,
                schedule: LearningRateSchedule(warmupSteps: 1), averageDecay: 0.9, seed: 3))
        change(&config)
        return config
    }

    private func trainer(_ config: TeacherTrainingConfig) throws -> TeacherTrainer {
        try TeacherTrainer(config, unetConfig: TinyModel.config())
    }

    @Test("a model with zero terminal SNR samples with DDIM from the last timestep and ends without noise")
    func sampler() throws {
        let schedule = NoiseSchedule(predictionType: .vPrediction, rescalesBetasZeroSNR: true)
        let model = try trainer(config { $0.schedule = schedule }).model
        #expect(try model.noiseSchedule() == schedule)
        #expect(try model.defaultSampler() == .ddim)
        #expect(try model.samplerTimesteps([.ddim], steps: 10) == (0..<10).map { 99 + 100 * $0 })
        let options = try model.samplerConfig(.ddim)
        #expect(options.setAlphaToOne && options.clipSampleRange == nil)
        #expect(throws: TrainingConfigError.self) {
            try self.trainer(config { $0.schedule = NoiseSchedule(rescalesBetasZeroSNR: true) })
        }
        let plain = try trainer(config()).model
        #expect(try plain.defaultSampler() == .pndm)
        #expect(try !plain.samplerConfig(.ddim).setAlphaToOne)
    }

    private func run(_ trainer: TeacherTrainer, until stop: Int = .max) throws {
        try trainer.run(shouldStop: { trainer.loop.step >= stop })
    }

    private func bits(_ trainer: TeacherTrainer) -> [[String: [UInt32]]] {
        trainer.model.components.map(\.store.bits)
    }

    @Test("UNet and text encoder are trained, from weights that depend on the seed")
    func trains() throws {
        let trainer = try trainer(config())
        let before = bits(trainer)
        #expect(try bits(self.trainer(config())) == before)
        #expect(try bits(self.trainer(config { $0.training.seed = 4 })) != before)
        try run(trainer)
        for (store, old) in zip(bits(trainer), before) {
            // The bias of a key adds the same value to all scores of a query, which softmax cancels.
            let still = store.filter { $0.value == old[$0.key] }.map(\.key).filter {
                !$0.hasSuffix("k_proj.bias")
            }
            #expect(still.allSatisfy { $0.hasPrefix("embeddings.") }, "\(still)")
        }
    }

    private func proxy(seed: UInt64) throws -> ClipProxy {
        try ClipProxy(
            config: ClipProxyConfig(textConfig: TinyModel.textConfig(), visionChannels: [8], visionStrides: [2]),
            parameters: ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: seed))))
    }

    @Test("with a CLIP-proxy the model has its text encoder, which is not trained")
    func clipProxy() throws {
        let config = try config {
            $0.textEncoder = nil
            $0.clipProxy = "clip.h5"
        }
        func trainer(_ proxy: ClipProxy, _ identity: String) throws -> TeacherTrainer {
            try TeacherTrainer(config, unetConfig: TinyModel.config(), clipProxy: (proxy, identity))
        }
        let proxy = try proxy(seed: 9)
        let run = try trainer(proxy, "a")
        let before = bits(run)
        try self.run(run)
        let after = bits(run)
        #expect(after[0] != before[0] && after[1] == before[1])
        #expect(after[1].allSatisfy { proxy.store.bits[$0.key] == $0.value })
        let folder = try TemporaryFolder(), path = folder.file("teacher.h5")
        let interrupted = try trainer(proxy, "a")
        try self.run(interrupted, until: 2)
        try interrupted.write(to: path, manifest: TinyModel.manifest)
        #expect(throws: TrainingStateError.self) { try trainer(self.proxy(seed: 8), "b").resume(from: path) }
        #expect(try trainer(proxy, "a").resume(from: path))
        #expect(throws: TrainingConfigError.self) { try self.trainer(config) }
        // A model with another text encoder.
        let other = try DiffusionPipeline(contentsOf: path)
        #expect(throws: TrainingConfigError.self) {
            try TeacherTrainer(
                config, unetConfig: TinyModel.config(), from: (other, ""), clipProxy: (self.proxy(seed: 8), ""))
        }
    }

    @Test("text encoder and CLIP-proxy exclude each other, and one of them is required", arguments: [true, false])
    func eitherTextEncoder(both: Bool) throws {
        let error = #expect(throws: TrainingConfigError.self) {
            try trainer(
                config {
                    if both { $0.clipProxy = "clip.h5" } else { $0.textEncoder = nil }
                })
        }
        #expect(error?.description.contains("textEncoder, clipProxy") == true)
    }

    @Test(
        "a run resumed from its file ends bit-equal to an uninterrupted one, and the file contains the average", .slow)
    func resumes() throws {
        let uninterrupted = try trainer(config())
        try run(uninterrupted)
        let folder = try TemporaryFolder(), path = folder.file("teacher.h5")
        let interrupted = try trainer(config())
        try run(interrupted, until: 2)
        try interrupted.write(to: path, manifest: TinyModel.manifest)
        #expect(
            try DiffusionPipeline(contentsOf: path).seenBits == interrupted.withFinalWeights { $0.seenBits })
        let resumed = try trainer(config())
        #expect(try resumed.resume(from: path))
        try run(resumed)
        #expect(bits(resumed) == bits(uninterrupted))
        #expect(
            resumed.loop.average?.averages.mapValues(\.values)
                == uninterrupted.loop.average?.averages.mapValues(\.values))
        #expect(resumed.loop.history == uninterrupted.loop.history)
        try resumed.write(to: path, manifest: TinyModel.manifest)
        #expect(try !trainer(config()).resume(from: path), "finished")
        #expect(try DiffusionPipeline(contentsOf: path).seenBits == uninterrupted.withFinalWeights { $0.seenBits })
    }

    @Test("runs with and without checkpointing are bit-equal, text encoder included")
    func checkpointing() throws {
        let (plain, lean) = (
            try trainer(config()), try trainer(config { $0.training.checkpointing = .blocks })
        )
        #expect(lean.model.denoiser.checkpointing == .blocks)
        for trainer in [plain, lean] { try run(trainer) }
        #expect(bits(plain) == bits(lean))
        #expect(plain.loop.history == lean.loop.history)
    }

    @Test("the file of a run with another config is refused")
    func anotherRun() throws {
        let folder = try TemporaryFolder(), path = folder.file("teacher.h5")
        let first = try trainer(config())
        try run(first, until: 1)
        try first.write(to: path, manifest: TinyModel.manifest)
        for other in [try config { $0.textDropping = 0.2 }, try config { $0.training.batchSize = 3 }] {
            #expect(throws: TrainingStateError.self) { try trainer(other).resume(from: path) }
        }
    }

    @Test("errors are weighted by min(1/ā, maximum), and a maximum of 1 gives the unweighted loss")
    func weighting() throws {
        let weighting = LossWeighting(maximumWeight: 5)
        #expect([1, 0.5, 0.2, 0.1, 0].map(weighting.weight) == [1, 2, 5, 5, 5])
        let (plain, weighted) = (
            try trainer(config { $0.weighting = LossWeighting(maximumWeight: 1) }), try trainer(config())
        )
        var losses: [Float] = []
        for trainer in [plain, weighted] {
            try trainer.run(
                progress: { _, _, record in losses.append(record.loss) }, shouldStop: { true })
        }
        #expect(losses[1] > losses[0])
    }

    @Test("invalid configs are errors that name the key")
    func configs() throws {
        let changes: [(String, (inout TeacherTrainingConfig) -> Void)] = [
            ("textDropping", { $0.textDropping = -0.1 }), ("timesteps.alpha", { $0.timesteps.alpha = 0 }),
            ("weighting.maximumWeight", { $0.weighting.maximumWeight = 0.5 }),
            ("training.steps", { $0.training.steps = 0 }),
        ]
        for (key, change) in changes {
            let error = #expect(throws: TrainingConfigError.self) { try trainer(config(change)) }
            guard case .range(let named, _, _) = error else {
                Issue.record("\(key): \(String(describing: error))")
                continue
            }
            #expect(named == key)
        }
        #expect(throws: TrainingConfigError.self) { try trainer(config { $0.mixture = [:] }) }
        #expect(throws: TrainingConfigError.self) {
            try TeacherTrainer(config(), unetConfig: TinyModel.config(channels: 4))
        }
    }
}
