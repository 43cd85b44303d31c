// SPDX-License-Identifier: Apache-2.0
// Samples of the full-precision model itself as a latent set, for distillation without images.
// B samples of a block, C channels, h w size of latents, S stored states of a trajectory.

import Communication
import Files
import Foundation
import Networks
import Pipelines
import Schedulers
import Tensors

/// Samples the model for prompts.
public struct TeacherLatents {
    private let pipeline: DiffusionPipeline
    private let prompts: [String]
    private let imagesPerPrompt: Int
    private let firstSeed: UInt64
    private let options: GenerationOptions
    /// Indices of the sampler's timesteps whose states are stored.
    private let stored: [Int]

    /// The number of samples.
    public var count: Int { prompts.count * imagesPerPrompt }

    /// - Parameters:
    ///   - pipeline: the model; its text encoders are not needed.
    ///   - prompts: texts.
    ///   - imagesPerPrompt: samples for each prompt; sample i of all samples has the seed `firstSeed + i`.
    ///   - firstSeed: the first seed.
    ///   - options: sampler, steps, guidance; a block of `batchSize` samples is computed at once.
    ///   - trajectoryStates: S, the number of states that are stored of each trajectory, evenly spaced; 0: none.
    /// - Throws: `DataSetError.unsuitableModel` for models with condition channels.
    public init(
        _ pipeline: DiffusionPipeline, prompts: [String], imagesPerPrompt: Int, firstSeed: UInt64,
        options: GenerationOptions, trajectoryStates: Int
    ) throws {
        guard pipeline.denoiser.config.conditionChannels == 0 else {
            throw DataSetError.unsuitableModel(
                reason: "inpainting and InstructPix2Pix models cannot sample without images; give a folder of images")
        }
        self.pipeline = pipeline
        self.prompts = prompts
        self.imagesPerPrompt = imagesPerPrompt
        self.firstSeed = firstSeed
        self.options = options
        let steps = try pipeline.samplerConfig(options.sampler).sampler(options.sampler, steps: options.steps)
            .timesteps.count
        stored = (0..<min(trajectoryStates, steps)).map { (2 * $0 + 1) * steps / (2 * min(trajectoryStates, steps)) }
    }

    /// The timesteps of the stored states.
    ///
    /// - Throws: `SamplerError`, `ConfigError`.
    public func trajectoryTimesteps() throws -> [Float] {
        let timesteps = try pipeline.samplerConfig(options.sampler).sampler(options.sampler, steps: options.steps)
            .timesteps
        return stored.map { timesteps[$0] }
    }

    /// Samples from index `log.count` on and adds the results to `log`, which keeps complete blocks only. Several
    /// processes share the blocks; the log does not depend on their number.
    ///
    /// - Parameters:
    ///   - log: the set in the first process; nil in the others.
    ///   - communicator: the processes.
    ///   - embeddings: the conditions of prompts.
    ///   - interruption: called in every process after each step; what it throws ends the run in all of them.
    ///   - progress: called in the first process with the number of finished samples; in a run of one process with
    ///     fractions.
    /// - Throws: `DataSetError.encodingNotFinite` with samples that are not finite; what sampling and `interruption`
    ///   throw; `PeerFailure`.
    public func sample(
        into log: LatentSetLog?, communicator: any Communicator = SingleProcess(),
        embeddings: ([String]) throws -> PromptEmbeddings, interruption: @escaping () throws -> Void = {},
        progress: @escaping (Double) -> Void = { _ in }
    ) throws {
        let blocks = Array(stride(from: log?.count ?? 0, to: count, by: options.batchSize))
        try communicator.distributeInOrder(blocks) { start in
            let entries = try entries(block(at: start), embeddings) { done in
                try interruption()
                if communicator.size == 1 { progress(Double(start) + done) }
            }
            return LatentSetLog.joined(try entries.map { try LatentSetLog.record(of: $0) })
        } collect: { _, result in
            guard let log else { return }
            for record in LatentSetLog.separated(result) { try log.append(record: record) }
            progress(Double(log.count))
        }
        try log?.sync()
    }

    private func block(at start: Int) -> Range<Int> { start..<min(start + options.batchSize, count) }

    /// The samples of one block; `progress` gets their number, with fractions.
    private func entries(
        _ block: Range<Int>, _ embeddings: ([String]) throws -> PromptEmbeddings,
        progress: @escaping (Double) throws -> Void
    ) throws -> [LatentSetLog.Entry] {
        let texts = block.map { prompts[$0 / imagesPerPrompt] }
        var states: [Tensor] = []
        var step = 0
        let samples = try pipeline.generate(
            try embeddings(texts), seeds: block.map { firstSeed &+ UInt64($0) }, options: options,
            progress: { try progress($0 * Double(block.count)) },
            observe: { input, _ in
                if stored.contains(step) { states.append(input) }
                step += 1
            })
        guard samples.isFinite, states.allSatisfy(\.isFinite) else { throw DataSetError.encodingNotFinite }
        return block.enumerated().map { .sample(sample($1, texts[$0], samples, states, $0)) }
    }

    private func sample(
        _ index: Int, _ prompt: String, _ samples: Tensor, _ states: [Tensor], _ row: Int
    ) -> LatentSample {
        func sliced(_ tensor: Tensor) -> Tensor { tensor.sliced(axis: 0, row..<row + 1) }
        let latents = sliced(samples)
        var values = [LatentSetName.mean: latents.reshaped(Array(latents.shape.dropFirst()))]
        if !states.isEmpty { values[LatentSetName.trajectory] = .concatenated(states.map(sliced), axis: 0) }
        let factor = pipeline.vaeScaleFactor
        let (height, width) = (Float(latents.shape[2] * factor), Float(latents.shape[3] * factor))
        return LatentSample(
            key: "prompt \(index / imagesPerPrompt + 1), seed \(firstSeed &+ UInt64(index))", captions: [prompt],
            timeIDs: [height, width, 0, 0, height, width], values: values)
    }
}
