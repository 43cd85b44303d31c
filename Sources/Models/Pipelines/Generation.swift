// SPDX-License-Identifier: Apache-2.0
// Sampling. Noise is drawn from one seed per image, so that an image does not depend on its batch.

import Foundation
import Schedulers
import Tensors

/// Settings of sampling.
public struct GenerationOptions: Codable, Hashable, Sendable {
    public var sampler: SamplerKind
    public var steps: Int
    /// 1 turns classifier-free guidance off.
    public var guidanceScale: Float
    /// Images computed at once; changes memory and speed, not the result beyond rounding.
    public var batchSize: Int
    /// Height and width of samples, in pixels or latent positions; nil: the size that the model was trained for.
    public var size: Int?

    public init(
        sampler: SamplerKind = .pndm, steps: Int = 50, guidanceScale: Float = 3, batchSize: Int = 16,
        size: Int? = nil
    ) {
        self.sampler = sampler
        self.steps = steps
        self.guidanceScale = guidanceScale
        self.batchSize = batchSize
        self.size = size
    }
}

/// Noise of a batch, one random stream per image.
struct ImageNoise {
    private var streams: [Philox]

    init(seeds: [UInt64]) { streams = seeds.map { Philox(seed: $0) } }

    /// The next standard normal values `[B, ...]` of the streams.
    ///
    /// - Precondition: B is the number of seeds.
    mutating func normal(_ shape: [Int]) -> Tensor {
        precondition(shape.first == streams.count, "noise of \(streams.count) images: shape \(shape)")
        return .concatenated(streams.indices.map { streams[$0].normal([1] + shape.dropFirst()) }, axis: 0)
    }
}

extension DiffusionPipeline {
    /// Standard normal noise `[B, C, H, W]`, one random stream per seed; `size` as in `GenerationOptions`.
    public func initialNoise(seeds: [UInt64], size: Int? = nil) -> Tensor {
        var noise = ImageNoise(seeds: seeds)
        return noise.normal(sampleShape(batch: seeds.count, size: size))
    }

    /// Generates samples `[B, C, H, W]`: image i for condition i from seed i.
    ///
    /// - Parameters:
    ///   - conditions: one per image.
    ///   - seeds: one per image.
    ///   - options: sampler, steps and guidance.
    ///   - progress: called with the share of the work done, 0...1; it may throw to interrupt.
    /// - Returns: samples in the model's range: images in [-1, 1], or latents.
    /// - Throws: `SamplerError`, `TimeFeatureError`, `ConfigError`, and what `progress` throws.
    public func generate(
        _ conditions: PromptEmbeddings, seeds: [UInt64], options: GenerationOptions,
        progress: ((Double) throws -> Void)? = nil
    ) throws -> Tensor {
        precondition(
            seeds.count == conditions.count, "generate: \(seeds.count) seeds for \(conditions.count) prompts")
        let sampler = try samplerConfig(options.sampler).sampler(options.sampler, steps: options.steps)
        var parts: [Tensor] = []
        for start in stride(from: 0, to: seeds.count, by: max(options.batchSize, 1)) {
            let range = start..<min(start + max(options.batchSize, 1), seeds.count)
            let predictor = GuidedPredictor(denoiser, conditions[range], guidanceScale: options.guidanceScale)
            var noise = ImageNoise(seeds: Array(seeds[range]))
            let initial = noise.normal(sampleShape(batch: range.count, size: options.size)) * sampler.initNoiseSigma
            parts.append(
                try sampleLoop(
                    from: initial, sampler: sampler, predictor: predictor, noise: { noise.normal($0) }
                ) {
                    let within = Double($0.step) / Double($0.total) * Double(range.count)
                    try progress?((Double(start) + within) / Double(seeds.count))
                })
        }
        return .concatenated(parts, axis: 0)
    }
}
