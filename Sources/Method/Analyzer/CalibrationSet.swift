// SPDX-License-Identifier: Apache-2.0
// Calibration prompts and seeds: the images that an analysis compares, or the samples of a data set. K images.

import DataSets
import Files
import Pipelines
import Recipes
import Tensors

/// K images by condition and seed, the same for the full-precision model and every quantized one.
public struct CalibrationSet {
    /// The prompt of each image; empty for embeddings without prompts.
    public let prompts: [String]
    /// The file of embeddings; nil for prompts.
    public let embeddings: FileReference?
    /// The seed of each image's noise.
    public let seeds: [UInt64]
    /// The condition of each image.
    public let conditions: PromptEmbeddings
    /// The data set whose samples take the place of images; nil where the model samples images.
    public let data: FileReference?
    /// The samples of `data`, `[K, IC, H, W]` with condition channels.
    let samples: Tensor?

    /// Images of these prompts; image i starts from seed `seed + i`.
    ///
    /// - Parameters:
    ///   - prompts: text for the model's tokenizer.
    ///   - count: K, the number of prompts to use from the start; nil for all.
    ///   - seed: the seed of the first image.
    ///   - pipeline: the model, with its text encoder.
    /// - Throws: `SensitivityError.images` where K is not in 1 ... prompts; `PipelineError` for models without a text
    ///   encoder; the tokenizer's error for text that it cannot represent.
    public init(
        prompts: [String], count: Int? = nil, seed: UInt64 = 0, pipeline: DiffusionPipeline
    ) throws {
        let count = try Self.checked(count, available: prompts.count)
        try self.init(
            prompts: Array(prompts[..<count]), seeds: (0..<count).map { seed &+ UInt64($0) }, pipeline: pipeline)
    }

    /// Images of these prompts, each from its own seed.
    ///
    /// - Parameters:
    ///   - prompts: text for the model's tokenizer.
    ///   - seeds: one per prompt.
    ///   - pipeline: the model, with its text encoder.
    /// - Throws: `SensitivityError.images` where there are none; otherwise as the initializer above.
    /// - Precondition: one seed per prompt.
    public init(prompts: [String], seeds: [UInt64], pipeline: DiffusionPipeline) throws {
        precondition(prompts.count == seeds.count, "calibration: \(prompts.count) prompts, \(seeds.count) seeds")
        guard !prompts.isEmpty else { throw SensitivityError.images(requested: 0, available: nil) }
        (self.prompts, self.seeds) = (prompts, seeds)
        (embeddings, data, samples) = (nil, nil, nil)
        conditions = try PromptEmbeddings(prompts: prompts, pipeline: pipeline)
    }

    /// Samples of a data set, on which noise predictions are compared; the noise of sample i has the seed `seed + i`.
    ///
    /// - Parameters:
    ///   - path: the set, see `CalibrationSamples`.
    ///   - count: K, evenly spaced samples of the set; at most as many as it has.
    ///   - seed: the seed of the first sample's noise.
    ///   - pipeline: the model.
    /// - Throws: `SensitivityError.images` where K is below 1; what reading the set throws.
    public init(dataSet path: String, count: Int, seed: UInt64 = 0, pipeline: DiffusionPipeline) throws {
        guard count > 0 else { throw SensitivityError.images(requested: count, available: nil) }
        let found = try CalibrationSamples(contentsOf: path, count: count, pipeline: pipeline)
        (prompts, conditions, samples) = (found.captions, found.conditions, found.samples)
        seeds = (0..<found.samples.shape[0]).map { seed &+ UInt64($0) }
        embeddings = nil
        data = FileReference(path: path, sha256: try FileDigest.sha256(ofFile: path))
    }

    /// Images from a file of embeddings; image i starts from seed `seed + i`.
    ///
    /// - Parameters:
    ///   - path: a safetensors file, see `PromptEmbeddings.init(embeddings:config:)`.
    ///   - prompts: the text of each row, for scoring images; empty where images are not scored.
    ///   - count: K, the number of rows to use from the start; nil for all.
    ///   - seed: the seed of the first image.
    ///   - pipeline: the model.
    /// - Throws: `SensitivityError.images` where K is not in 1 ... rows, `.prompts` where the numbers of prompts and
    ///   rows differ; what reading the file throws.
    public init(
        embeddingsFile path: String, prompts: [String] = [], count: Int? = nil, seed: UInt64 = 0,
        pipeline: DiffusionPipeline
    ) throws {
        let all = try PromptEmbeddings(embeddings: path, config: pipeline.denoiser.config)
        guard prompts.isEmpty || prompts.count == all.count else {
            throw SensitivityError.prompts(found: prompts.count, embeddings: all.count)
        }
        let count = try Self.checked(count, available: all.count)
        self.prompts = Array(prompts.prefix(count))
        seeds = (0..<count).map { seed &+ UInt64($0) }
        embeddings = FileReference(path: path, sha256: try FileDigest.sha256(ofFile: path))
        conditions = all[0..<count]
        (data, samples) = (nil, nil)
    }

    /// The images of an earlier analysis.
    ///
    /// - Throws: `SensitivityError.generation` where prompts, seeds and sizes do not fit together, `.embeddingsChanged`
    ///   where the file of embeddings has changed; otherwise as the other initializers.
    init(of generation: AnalysisSettings, pipeline: DiffusionPipeline) throws {
        let isConsistent =
            !generation.seeds.isEmpty && (1...1024).contains(generation.size ?? 1)
            && (generation.prompts.count == generation.seeds.count
                || (generation.prompts.isEmpty && (generation.embeddings != nil || generation.data != nil)))
            && generation.timesteps.count % generation.seeds.count == 0
        guard isConsistent else { throw SensitivityError.generation }
        if let set = generation.data {
            guard try FileDigest.sha256(ofFile: set.path) == set.sha256 else {
                throw SensitivityError.embeddingsChanged(path: set.path)
            }
            self = try CalibrationSet(
                dataSet: set.path, count: generation.seeds.count, seed: generation.seeds[0], pipeline: pipeline)
            return
        }
        prompts = generation.prompts
        seeds = generation.seeds
        (data, samples) = (nil, nil)
        embeddings = generation.embeddings
        guard let file = generation.embeddings else {
            conditions = try PromptEmbeddings(prompts: prompts, pipeline: pipeline)
            return
        }
        guard try FileDigest.sha256(ofFile: file.path) == file.sha256 else {
            throw SensitivityError.embeddingsChanged(path: file.path)
        }
        let all = try PromptEmbeddings(embeddings: file.path, config: pipeline.denoiser.config)
        _ = try Self.checked(seeds.count, available: all.count)
        conditions = all[0..<seeds.count]
    }

    private static func checked(_ count: Int?, available: Int) throws(SensitivityError) -> Int {
        let count = count ?? available
        guard count > 0, count <= available else {
            throw .images(requested: count, available: available)
        }
        return count
    }
}
