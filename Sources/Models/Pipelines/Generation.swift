// SPDX-License-Identifier: Apache-2.0
// Sampling. Noise is drawn from one seed per image, so that an image does not depend on its batch.
// B images, C channels, H W size.

import Communication
import Foundation
import Networks
import Schedulers
import Tensors

/// Settings of sampling.
public struct GenerationOptions: Codable, Hashable, Sendable {
    public var sampler: SamplerKind
    public var steps: Int
    /// 1 turns classifier-free guidance off.
    public var guidanceScale: Float
    /// How much the standard deviation of the guided prediction is brought back to that of the conditional one, 0 to 1
    /// (arXiv:2305.08891, section 3.4).
    public var guidanceRescale: Float
    /// Images computed at once; changes memory and speed, not the result beyond rounding.
    public var batchSize: Int
    /// Height and width of samples, in pixels or latent positions; nil: the size that the model was trained for.
    public var size: SampleSize?
    /// The generator of the initial noise and of the noise that samplers add.
    public var randomNumbers: RandomNumberKind

    public init(
        sampler: SamplerKind = .pndm, steps: Int = 50, guidanceScale: Float = 3, guidanceRescale: Float = 0,
        batchSize: Int = 16, size: SampleSize? = nil, randomNumbers: RandomNumberKind = .philox
    ) {
        self.sampler = sampler
        self.steps = steps
        self.guidanceScale = guidanceScale
        self.guidanceRescale = guidanceRescale
        self.batchSize = batchSize
        self.size = size
        self.randomNumbers = randomNumbers
    }
}

extension DiffusionPipeline {
    /// Standard normal noise `[B, C, H, W]`, one random stream per seed; `size` as in `GenerationOptions`.
    public func initialNoise(
        seeds: [UInt64], size: SampleSize? = nil, _ kind: RandomNumberKind = .philox
    ) -> Tensor {
        let shape = sampleShape(batch: 1, size: size)
        return .concatenated(
            seeds.map { seed in
                var random = NoiseGenerator(kind, seed: seed)
                return random.normal(shape)
            }, axis: 0)
    }

    /// Generates samples `[B, C, H, W]`: image i for condition i from seed i.
    ///
    /// - Parameters:
    ///   - conditions: one per image.
    ///   - seeds: one per image.
    ///   - options: sampler, steps and guidance.
    ///   - inputs: an image to change, a mask, or initial noise.
    ///   - progress: called with the share of the work done, 0...1; it may throw to interrupt.
    ///   - observe: as in `sampleLoop`, with the samples of one batch.
    /// - Returns: samples in the model's range: images in [-1, 1], or latents.
    /// - Throws: `SamplerError`, `TimeFeatureError`, `ConfigError`, `PipelineError`, and what `progress` throws.
    public func generate(
        _ conditions: PromptEmbeddings, seeds: [UInt64], options: GenerationOptions,
        inputs: SamplingInputs = SamplingInputs(), progress: ((Double) throws -> Void)? = nil,
        observe: ((Tensor, Float) -> Void)? = nil
    ) throws -> Tensor {
        let batches = try SampleBatches(self, conditions, seeds: seeds, options: options, inputs: inputs)
        let parts = try batches.ranges.map { range in
            try batches.samples(range, observe: observe) { share in
                let done = Double(range.lowerBound) + share * Double(range.count)
                try progress?(done / Double(seeds.count))
            }
        }
        return .concatenated(parts, axis: 0)
    }

    /// Generates the same samples in several processes, which share the batches. The result does not depend on their
    /// number.
    ///
    /// - Parameters:
    ///   - conditions: one per image.
    ///   - seeds: one per image.
    ///   - options: sampler, steps and guidance.
    ///   - inputs: an image to change, a mask, or initial noise.
    ///   - communicator: the processes; all of them call this function with the same values.
    ///   - interruption: called in every process after each step; what it throws ends the run in all of them.
    ///   - progress: called in the first process with the share of the work that is known to be done, 0...1.
    /// - Returns: the samples in the first process; nil in the others.
    /// - Throws: as the function for one process; what `interruption` throws; `PeerFailure`.
    public func generate(
        _ conditions: PromptEmbeddings, seeds: [UInt64], options: GenerationOptions,
        inputs: SamplingInputs = SamplingInputs(), communicator: any Communicator,
        interruption: @escaping () throws -> Void, progress: @escaping (Double) -> Void
    ) throws -> Tensor? {
        guard communicator.size > 1 else {
            return try generate(conditions, seeds: seeds, options: options, inputs: inputs) { share in
                try interruption()
                progress(share)
            }
        }
        let batches = try SampleBatches(self, conditions, seeds: seeds, options: options, inputs: inputs)
        var samples: [Int: [UInt8]] = [:]
        try communicator.distribute(Array(batches.ranges.indices)) { batch in
            try batches.samples(batches.ranges[batch], observe: nil) { _ in try interruption() }
                .withUnsafeBufferPointer { Array(UnsafeRawBufferPointer($0)) }
        } collect: { batch, bytes in
            samples[batch] = bytes
            progress(Double(samples.count) / Double(batches.ranges.count))
        }
        guard communicator.isFirst else { return nil }
        let values = batches.ranges.indices.flatMap { batch in
            (samples[batch] ?? []).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
        }
        return Tensor(values, shape: batches.shape)
    }
}

/// The batches of one call of `generate`.
private struct SampleBatches {
    private let pipeline: DiffusionPipeline
    private let conditions: PromptEmbeddings
    private let seeds: [UInt64]
    private let options: GenerationOptions
    private let inputs: SamplingInputs
    private let sampler: any DiffusionSampler
    /// The shape of all samples, `[B, C, H, W]`.
    let shape: [Int]
    /// The samples of each batch.
    let ranges: [Range<Int>]

    /// - Throws: `SamplerError`, `ConfigError`; `PipelineError` for inputs that do not fit the model or the samples.
    init(
        _ pipeline: DiffusionPipeline, _ conditions: PromptEmbeddings, seeds: [UInt64], options: GenerationOptions,
        inputs: SamplingInputs
    ) throws {
        precondition(
            seeds.count == conditions.count, "generate: \(seeds.count) seeds for \(conditions.count) prompts")
        (self.pipeline, self.conditions, self.seeds) = (pipeline, conditions, seeds)
        (self.options, self.inputs) = (options, inputs)
        sampler = try pipeline.samplerConfig(options.sampler).sampler(options.sampler, steps: options.steps)
        shape = pipeline.sampleShape(batch: seeds.count, size: options.size)
        let size = max(options.batchSize, 1)
        ranges = stride(from: 0, to: seeds.count, by: size).map { $0..<min($0 + size, seeds.count) }
        try validate()
    }

    /// The samples of one batch; `progress` gets the share of their steps that are done.
    func samples(
        _ range: Range<Int>, observe: ((Tensor, Float) -> Void)?, progress: @escaping (Double) throws -> Void
    ) throws -> Tensor {
        let state = InitialState(
            inputs, seeds: Array(seeds[range]), range, shape: Array(shape.dropFirst()), options.randomNumbers)
        var sampler = sampler
        if inputs.startsFromImage { sampler.position = try sampler.startIndex(strength: inputs.strength) }
        let initial =
            state.image.map { image in
                inputs.startsFromImage ? sampler.addNoise(to: image, noise: state.noise, at: sampler.position) : nil
            } ?? nil
        let predictor = GuidedPredictor(
            pipeline.denoiser, conditions[range], guidanceScale: options.guidanceScale,
            guidanceRescale: options.guidanceRescale, condition: state.condition,
            imageGuidanceScale: inputs.conditioning == .image ? inputs.imageGuidanceScale : nil)
        return try sampleLoop(
            from: initial ?? state.noise * sampler.initNoiseSigma, sampler: sampler, predictor: predictor,
            afterStep: blending(state, sampler), observe: observe, noise: state.drawNoise
        ) {
            try progress(Double($0.step) / Double($0.total))
        }
    }

    /// Keeps the unmasked part of the image at the noise level of each step, for models that take no mask themselves
    /// (RePaint, arXiv:2201.09865, without resampling); nil where nothing is kept.
    private func blending(_ state: InitialState, _ sampler: any DiffusionSampler) -> ((Tensor, Int) -> Tensor)? {
        guard inputs.conditioning == .none, let mask = inputs.mask, let image = state.image else { return nil }
        return { sample, next in
            let known =
                next < sampler.timesteps.count ? sampler.addNoise(to: image, noise: state.noise, at: next) : image
            return known + mask * (sample - known)
        }
    }

    /// - Throws: `PipelineError` for inputs that do not fit the model or the samples `shape`.
    private func validate() throws(PipelineError) {
        let one = [1] + shape.dropFirst()
        if let noise = inputs.noise, noise.shape != shape, noise.shape != one {
            throw .latentShape(key: "latents", expected: shape, found: noise.shape)
        }
        if let image = inputs.image, image.mean.shape != one {
            throw .latentShape(key: "image", expected: one, found: image.mean.shape)
        }
        let conditioning = try ImageConditioning(pipeline.denoiser.config)
        if let condition = inputs.condition {
            let expected = [shape[0], pipeline.denoiser.config.conditionChannels] + shape[2...]
            guard condition.shape == expected else {
                throw .latentShape(key: "condition", expected: expected, found: condition.shape)
            }
            return
        }
        guard conditioning == inputs.conditioning, conditioning == .none || inputs.image != nil,
            conditioning != .image || inputs.mask == nil,
            conditioning != .inpainting || inputs.maskedImage != nil
        else { throw .missingImage(conditionChannels: pipeline.denoiser.config.conditionChannels) }
    }
}

/// The tensors that the sampling of a batch starts with, drawn in the order of diffusers' pipelines.
private final class InitialState {
    /// Standard normal, `[B, C, H, W]`.
    let noise: Tensor
    /// The latents of the image to change, scaled, `[B, C, H, W]`; nil without one.
    let image: Tensor?
    /// What the denoiser takes after the noisy sample, `[B, K, H, W]`; nil for nothing.
    let condition: Tensor?
    private var generators: [NoiseGenerator]

    init(
        _ inputs: SamplingInputs, seeds: [UInt64], _ range: Range<Int>, shape: [Int], _ kind: RandomNumberKind
    ) {
        var generators = seeds.map { NoiseGenerator(kind, seed: $0) }
        var (noises, images, conditions): ([Tensor], [Tensor], [Tensor]) = ([], [], [])
        let one = [1] + shape
        for index in generators.indices {
            // Latents of the image are drawn where sampling starts from them or blends them in.
            let blends = inputs.conditioning == .none && inputs.mask != nil
            if let image = inputs.image, inputs.startsFromImage || blends {
                images.append(image.sample(generators[index].normal(one)))
            }
            let given = inputs.noise.map { noise in
                let row = noise.shape[0] == 1 ? 0 : range.lowerBound + index
                return noise.sliced(axis: 0, row..<row + 1)
            }
            noises.append(given ?? generators[index].normal(one))
            if let condition = inputs.condition {
                let row = range.lowerBound + index
                conditions.append(condition.sliced(axis: 0, row..<row + 1))
            } else if inputs.mask != nil {
                // diffusers encodes the masked image for every model.
                let draw = generators[index].normal(one)
                if let masked = inputs.maskedImage, let mask = inputs.mask {
                    conditions.append(.concatenated([mask, masked.sample(draw)], axis: 1))
                }
            } else if inputs.conditioning == .image, let image = inputs.image {
                conditions.append(image.mean)
            }
        }
        self.generators = generators
        noise = .concatenated(noises, axis: 0)
        image = images.isEmpty ? nil : .concatenated(images, axis: 0)
        condition = conditions.isEmpty ? nil : .concatenated(conditions, axis: 0)
    }

    /// The next standard normal numbers of all images, `[B, ...]` for `shape`.
    func drawNoise(_ shape: [Int]) -> Tensor {
        .concatenated(generators.indices.map { generators[$0].normal([1] + shape.dropFirst()) }, axis: 0)
    }
}
