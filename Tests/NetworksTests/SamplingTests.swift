// SPDX-License-Identifier: Apache-2.0
// Guidance, cached time features and the sampling loop, on tiny models.

import Checkpoints
import Foundation
import Layers
import Pipelines
import Schedulers
import Tensors
import TestKit
import Testing

@testable import Networks

@Suite struct SamplingTests {
    private let fixtureName = "unet-sd1"

    /// The prompts "p" and the negative prompts "n".
    private func embeddings(_ fixture: UNetFixture) throws -> PromptEmbeddings {
        let context = [2] + (try #require(fixture.context))
        return PromptEmbeddings(conditional: fixtureUnit("p", context), unconditional: fixtureUnit("n", context))
    }

    @Test(
        "guidance in one pass equals two passes combined, for SDXL's conditions too",
        arguments: ["sd1", "sdxl"])
    func guidance(name: String) throws {
        let fixture: UNetFixture = try fixture("unet-\(name)", in: .module)
        let model = try fixture.model()
        let width = (fixture.config.projectionClassEmbeddingsInputDim ?? 0) - 24
        let negativeAdded = fixture.added.map {
            AddedConditions(textEmbeds: fixtureUnit("negative", [2, width]), timeIDs: $0.timeIDs)
        }
        let context = [2] + (try #require(fixture.context))
        let (positive, negative) = (fixtureUnit("p", context), fixtureUnit("n", context))
        let embeddings = PromptEmbeddings(
            conditional: positive, unconditional: negative,
            added: fixture.added.flatMap { added in negativeAdded.map { (added, $0) } })
        let predictor = GuidedPredictor(model, embeddings, guidanceScale: 7.5)
        let times = Tensor([321, 321], shape: [2])
        let up = model(
            fixture.sample, timesteps: times, encoderHiddenStates: positive, addedConditions: fixture.added)
        let down = model(
            fixture.sample, timesteps: times, encoderHiddenStates: negative, addedConditions: negativeAdded)
        let expected = zip(up.values, down.values).map { Double($1) + 7.5 * (Double($0) - Double($1)) }
        expectClose(
            predictor.predict(fixture.sample, timestep: 321).values, expected, Tolerance(relativeToLargest: 1e-5),
            "guided prediction")
    }

    @Test("scale 1 is the conditional prediction")
    func noGuidance() throws {
        let fixture: UNetFixture = try fixture(fixtureName, in: .module)
        let model = try fixture.model()
        let embeddings = try embeddings(fixture)
        let plain = model(
            fixture.sample, timesteps: Tensor([9], shape: [1]),
            encoderHiddenStates: embeddings.conditional)
        let predictor = GuidedPredictor(model, embeddings, guidanceScale: 1)
        #expect(predictor.predict(fixture.sample, timestep: 9).values == plain.values)
    }

    @Test("cached time features predict what the time layers predict, also in a model without those layers")
    func cachedTimeFeatures() throws {
        for name in ["unet-sd1", "unet-unconditional"] {
            let fixture: UNetFixture = try fixture(name, in: .module)
            let model = try fixture.model()
            let table = try model.timeFeatureTable(timesteps: fixture.timesteps.map { Int($0) } + [500, 500])
            #expect(table.timesteps.count == 3)
            #expect(table.elementCount == 3 * model.timeFeatureChannels.reduce(0) { $0 + $1.channels })
            let kept = model.store.entries.filter { !model.isTimeLayer(parameter: $0.key) }
            let values = Dictionary(uniqueKeysWithValues: kept.map { ($0.key, $0.source.tensor()) })
            let store = ParameterStore(provider: TensorParameterProvider(values))
            let reduced = try UNet2DConditionModel(
                config: fixture.config, parameters: ParameterPath(store), timeFeatures: table)
            #expect(!store.entries.contains { $0.key.contains("time_emb") })
            let expected = model(
                fixture.sample, timesteps: fixture.times, encoderHiddenStates: fixture.encoderHiddenStates)
            let found = reduced(
                fixture.sample, timesteps: fixture.times, encoderHiddenStates: fixture.encoderHiddenStates)
            expectClose(found, expected, Tolerance.sameArithmetic, name)
            model.timeFeatures = table
            let switched = model(
                fixture.sample, timesteps: Tensor([500], shape: [1]),
                encoderHiddenStates: fixture.encoderHiddenStates)
            model.timeFeatures = nil
            let live = model(
                fixture.sample, timesteps: Tensor([500], shape: [1]),
                encoderHiddenStates: fixture.encoderHiddenStates)
            expectClose(switched, live, Tolerance.sameArithmetic, name)
        }
    }

    @Test("a run over timesteps that are not cached is an error before it starts, which names what is cached")
    func uncachedTimesteps() throws {
        let fixture: UNetFixture = try fixture(fixtureName, in: .module)
        let model = try fixture.model()
        model.timeFeatures = try model.timeFeatureTable(timesteps: [901, 801, 1])
        let sampler = try DDIMSampler(steps: 5)
        let predictor = GuidedPredictor(model, try embeddings(fixture))
        #expect(throws: TimeFeatureError.timestepNotCached(timestep: 601, cached: [1, 801, 901])) {
            _ = try sampleLoop(from: fixture.sample, sampler: sampler, predictor: predictor, noise: Tensor.zeros)
        }
    }

    @Test("features of another model, or of a time embedding with text in it, are refused")
    func wrongTimeFeatures() throws {
        let fixture: UNetFixture = try fixture(fixtureName, in: .module)
        let model = try fixture.model()
        let table = TimeFeatureTable(timesteps: [1], features: ["down_blocks.0.resnets.0": .zeros([1, 3])])
        #expect(
            throws: TimeFeatureError.wrongTable(
                resnetPath: "down_blocks.0.resnets.0", expected: [1, 8], found: [1, 3])
        ) { try table.validate(for: model) }
        let sdxl: UNetFixture = try TestKit.fixture("unet-sdxl", in: .module)
        #expect(throws: TimeFeatureError.dependsOnConditions(key: "addition_embed_type", value: "text_time")) {
            _ = try sdxl.model().timeFeatureTable(timesteps: [1])
        }
    }

    @Test("the loop visits every timestep, reports it, and keeps no tape")
    func loop() throws {
        let fixture: UNetFixture = try fixture(fixtureName, in: .module)
        let model = try fixture.model()
        let predictor = GuidedPredictor(model, try embeddings(fixture), guidanceScale: 2)
        let sampler = try PNDMSampler(steps: 4)
        var visited: [Float] = []
        var last: [Float] = []
        let result = try sampleLoop(
            from: fixture.sample, sampler: sampler, predictor: predictor, noise: Tensor.zeros
        ) { progress in
            visited.append(progress.timestep)
            last = progress.sample.values
            #expect(progress.step == visited.count && progress.total == 5)
        }
        #expect(visited == sampler.timesteps)
        #expect(visited == [751, 501, 501, 251, 1])
        #expect(result.values == last && result.isFinite && !result.requiresGradient)

        var byHand = fixture.sample
        var again = sampler
        for timestep in again.timesteps {
            let prediction = predictor.predict(byHand, timestep: timestep)
            byHand = again.step(prediction, sample: byHand, noise: Tensor.zeros)
        }
        expectClose(result, byHand, Tolerance.sameArithmetic, "sample")
    }

    @Test("an error thrown by the progress report ends the run")
    func cancelled() throws {
        struct Stop: Error {}
        let fixture: UNetFixture = try fixture(fixtureName, in: .module)
        let predictor = GuidedPredictor(try fixture.model(), try embeddings(fixture))
        var calls = 0
        #expect(throws: Stop.self) {
            _ = try sampleLoop(
                from: fixture.sample, sampler: DDIMSampler(steps: 10), predictor: predictor, noise: Tensor.zeros
            ) { _ in
                calls += 1
                if calls == 2 { throw Stop() }
            }
        }
        #expect(calls == 2)
    }
}
