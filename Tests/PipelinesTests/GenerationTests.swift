// SPDX-License-Identifier: Apache-2.0
// Making images with a tiny model: seeds, batches, guidance, progress.

import Files
import Foundation
import Layers
import Networks
import Schedulers
import ShapesWorld
import Tensors
import TestKit
import Testing
import Tokenizers

@testable import Pipelines

@Suite struct GenerationTests {
    private static let prompts = [
        "a red circle", "a blue square", "a green triangle", "a red square", "a blue circle",
    ]
    private let seeds: [UInt64] = [1, 2, 3, 4, 5]

    private func images(
        _ pipeline: DiffusionPipeline, _ change: (inout GenerationOptions) -> Void = { _ in }
    ) throws -> Tensor {
        var options = GenerationOptions(steps: 6)
        change(&options)
        return try pipeline.generate(
            PromptEmbeddings(prompts: Self.prompts, pipeline: pipeline), seeds: seeds, options: options)
    }

    @Test(
        "the same seeds make the same images, bit for bit, with every sampler",
        arguments: SamplerKind.allCases)
    func repeats(sampler: SamplerKind) throws {
        let first = try images(TinyModel.pipeline()) { $0.sampler = sampler }
        let second = try images(TinyModel.pipeline()) { $0.sampler = sampler }
        #expect(first.shape == [5, 3, 8, 8])
        #expect(first.values == second.values)
        #expect(first.values.allSatisfy { $0.isFinite })
    }

    @Test("an image does not depend on its batch beyond rounding", arguments: [1, 2, 3, 5])
    func batches(size: Int) throws {
        let pipeline = try TinyModel.pipeline()
        let together = try images(pipeline) { $0.batchSize = 16 }
        let parts = try images(pipeline) { $0.batchSize = size }
        expectClose(parts, together, .sampling, "batches of \(size)")
        // Noise added in the steps is of the image's own stream, too.
        let noisy = try images(pipeline) { ($0.batchSize, $0.sampler) = (16, .eulerAncestral) }
        let noisyParts = try images(pipeline) { ($0.batchSize, $0.sampler) = (size, .eulerAncestral) }
        expectClose(noisyParts, noisy, .guidedSampling, "batches of \(size) with added noise")
    }

    @Test("the options of a sampler are those of the model's diffusers pipeline; errors name the document")
    func samplerOptions() throws {
        let json = #"{"_class_name": "DDIMScheduler", "clip_sample": true, "steps_offset": 0}"#
        let pixels = try TinyModel.pipeline(schedulerJSON: json)
        #expect(try pixels.samplerConfig(.ddim).clipSampleRange == 1)
        #expect(try pixels.samplerConfig(.ddim).stepsOffset == 0)
        #expect(try pixels.defaultSampler() == .ddim)
        let latents = try TinyModel.pipeline(channels: 4, schedulerJSON: json)
        #expect(try latents.samplerConfig(.ddim).clipSampleRange == nil)
        #expect(try latents.samplerConfig(.ddim).stepsOffset == 1)
        #expect(try TinyModel.pipeline().defaultSampler() == .pndm)

        let wrong = try TinyModel.pipeline(schedulerJSON: #"{"_class_name": "DEISMultistepScheduler", "beta_end": 2}"#)
        for read in [
            { _ = try wrong.defaultSampler() }, { _ = try wrong.samplerConfig(.ddim) },
            { _ = try wrong.noiseSchedule() },
        ] as [() throws -> Void] {
            let error = #expect(throws: ConfigError.self) { try read() }
            guard case .inDocument("scheduler_config.json", .unsupported) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(error?.description.hasPrefix("scheduler_config.json: config key ") == true)
        }
    }

    @Test("guidance rescale gives each image the deviation of the conditional prediction, in part")
    func guidanceRescale() {
        let (guided, conditional) = (fixtureUnit("guided", [2, 3, 4, 4]) * 5 + 1, fixtureUnit("c", [2, 3, 4, 4]))
        let result = guidanceRescaled(guided, conditional: conditional, rescale: 0.7)
        func deviation(_ values: ArraySlice<Float>) -> Double {
            let mean = values.reduce(0.0) { $0 + Double($1) } / 48
            return (values.reduce(0.0) { $0 + pow(Double($1) - mean, 2) } / 47).squareRoot()
        }
        var expected: [Double] = []
        for range in [0..<48, 48..<96] {
            let ratio = deviation(conditional.values[range]) / deviation(guided.values[range])
            expected += guided.values[range].map { 0.7 * Double($0) * ratio + 0.3 * Double($0) }
        }
        expectClose(result.values, expected, .sameArithmetic, "rescaled")
        #expect(guidanceRescaled(guided, conditional: conditional, rescale: 0).values == guided.values)
    }

    @Test("a predictor rescales guided predictions only")
    func rescaledPredictor() throws {
        let pipeline = try TinyModel.pipeline()
        let conditions = try PromptEmbeddings(prompts: Self.prompts, pipeline: pipeline)
        let sample = pipeline.initialNoise(seeds: seeds)
        func predict(_ scale: Float, _ rescale: Float) -> Tensor {
            GuidedPredictor(pipeline.denoiser, conditions, guidanceScale: scale, guidanceRescale: rescale)
                .predict(sample, timestep: 500)
        }
        let (plain, strong) = (predict(1, 0), predict(7.5, 0))
        #expect(predict(1, 0.7).values == plain.values)
        let expected = guidanceRescaled(strong, conditional: plain, rescale: 0.7)
        expectClose(predict(7.5, 0.7), expected, .guidedSampling, "rescaled prediction")
    }

    @Test("each image has a noise of its own, which follows from its seed alone")
    func noise() throws {
        let pipeline = try TinyModel.pipeline()
        let noise = pipeline.initialNoise(seeds: [7, 8, 7])
        #expect(noise.shape == [3, 3, 8, 8])
        let values = noise.values
        #expect(values[..<192] == values[384...])
        #expect(Array(values[..<192]) != Array(values[192..<384]))
        #expect(pipeline.initialNoise(seeds: [8]).values == Array(values[192..<384]))
    }

    @Test("guidance scale 1 is the conditional model, whatever the negative prompt; more changes the image")
    func guidance() throws {
        let pipeline = try TinyModel.pipeline()
        let conditions = try PromptEmbeddings(prompts: Self.prompts, pipeline: pipeline)
        let other = PromptEmbeddings(
            conditional: conditions.conditional, unconditional: conditions.conditional * -3)
        func generate(_ conditions: PromptEmbeddings, _ scale: Float) throws -> [Float] {
            try pipeline.generate(
                conditions, seeds: seeds,
                options: GenerationOptions(sampler: .ddim, steps: 4, guidanceScale: scale)
            ).values
        }
        let plain = try generate(conditions, 1)
        #expect(try generate(other, 1) == plain)
        #expect(try generate(conditions, 4) != plain)
        // By hand: DDIM over the conditional prediction.
        let predictor = GuidedPredictor(pipeline.denoiser, conditions)
        let sampler = try pipeline.samplerConfig(.ddim).sampler(.ddim, steps: 4)
        let byHand = try sampleLoop(
            from: pipeline.initialNoise(seeds: seeds), sampler: sampler, predictor: predictor, noise: Tensor.zeros)
        #expect(byHand.values == plain)
        // With equal prompts on both sides, guidance has nothing to push from.
        let same = PromptEmbeddings(
            conditional: conditions.conditional, unconditional: conditions.conditional)
        expectClose(try generate(same, 4), plain, .guidedSampling, "guided from itself")
    }

    @Test("progress rises to 1 over all batches, and what it throws ends the run")
    func progress() throws {
        struct Interruption: Error {}
        let pipeline = try TinyModel.pipeline()
        let conditions = try PromptEmbeddings(prompts: Self.prompts, pipeline: pipeline)
        let options = GenerationOptions(sampler: .ddim, steps: 3, batchSize: 2)
        var shares: [Double] = []
        _ = try pipeline.generate(conditions, seeds: seeds, options: options) { shares.append($0) }
        #expect(shares.count == 9)
        #expect(abs((shares.last ?? 0) - 1) < 1e-12)
        for (before, after) in zip(shares, shares.dropFirst()) { #expect(after > before) }
        #expect(throws: Interruption.self) {
            try pipeline.generate(conditions, seeds: seeds, options: options) {
                if $0 > 0.5 { throw Interruption() }
            }
        }
    }

    @Test("prompts need a text encoder with the words of the shapes world, and known words")
    func prompts() throws {
        let mute = try TinyModel.pipeline(hasText: false)
        #expect(throws: PipelineError.noTextEncoder) {
            try PromptEmbeddings(prompts: ["a red circle"], pipeline: mute)
        }
        let encoder = try CLIPTextModel(
            config: TinyModel.textConfig(vocabSize: 99, maxPositionEmbeddings: 12, hiddenSize: 12),
            parameters: ParameterPath(ParameterStore(provider: RandomParameterProvider(seed: 1))))
        let foreign = try DiffusionPipeline(
            denoiser: try TinyModel.unet(), textEncoder: encoder, tokenizerName: "esperanto", schedulerJSON: nil)
        let unknown = #expect(throws: TokenizerError.self) {
            try PromptEmbeddings(prompts: ["a red circle"], pipeline: foreign)
        }
        guard case .unknown("esperanto", _) = unknown else {
            Issue.record("\(String(describing: unknown))")
            return
        }
        #expect(
            throws: TokenizerError.vocabulary(
                name: ShapesTokenizer.name, expected: ShapesTokenizer.vocabularySize, found: 99)
        ) {
            try DiffusionPipeline(
                denoiser: try TinyModel.unet(), textEncoder: encoder, tokenizerName: ShapesTokenizer.name,
                schedulerJSON: nil)
        }
        let pipeline = try TinyModel.pipeline()
        #expect(throws: CaptionError.self) {
            try PromptEmbeddings(prompts: ["a crimson circle"], pipeline: pipeline)
        }
        let conditions = try PromptEmbeddings(prompts: Self.prompts, pipeline: pipeline)
        #expect(conditions.count == 5)
        #expect(conditions[1..<3].conditional.values == conditions.conditional.sliced(axis: 0, 1..<3).values)
        #expect(!conditions.conditional.requiresGradient)
        // Every image's unconditional half is the same empty prompt.
        let empty = conditions.unconditional.reshaped([5, -1])
        for index in 1..<5 {
            #expect(empty.sliced(axis: 0, index..<index + 1).values == empty.sliced(axis: 0, 0..<1).values)
        }
    }

    @Test("as many seeds as prompts, or a trap")
    func wrongCount() async {
        await #expect(processExitsWith: .failure) {
            let pipeline = try TinyModel.pipeline()
            let conditions = try PromptEmbeddings(prompts: ["a red circle"], pipeline: pipeline)
            _ = try pipeline.generate(conditions, seeds: [1, 2], options: GenerationOptions(steps: 2))
        }
    }
}
