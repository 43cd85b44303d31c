// SPDX-License-Identifier: Apache-2.0
// Training data from a latent set: latents are drawn from the VAE's distribution, captions are embedded when they are
// needed. The next batch is prepared in the background while a step computes.
// B batch, C latent channels, K condition channels, h w size of latents, T tokens, D context size, P pooled text.

import Files
import Foundation
import Networks
import Pipelines
import Synchronization
import Tensors

/// How training reads a set.
public struct LatentSetOptions: Sendable {
    /// Samples of one batch, which all have latents of one size.
    public var batchSize: Int
    /// Samples of a step, which consists of `batchSize` at a time and a rest.
    public var stepSize: Int
    /// The seed of order, captions and latents.
    public var seed: UInt64
    /// The limit for text embeddings that are kept in memory, in bytes.
    public var embeddingBytes: Int
    /// The number of this process, and of all processes that share the batches of a step in turn. They decide which
    /// batch is prepared in advance, not what a batch holds.
    public var process: (rank: Int, count: Int)

    public init(
        batchSize: Int, stepSize: Int? = nil, seed: UInt64, embeddingBytes: Int = 64 << 20,
        process: (rank: Int, count: Int) = (0, 1)
    ) {
        self.batchSize = batchSize
        self.stepSize = stepSize ?? batchSize
        self.seed = seed
        self.embeddingBytes = embeddingBytes
        self.process = process
    }
}

/// A latent set as training data. Everything that a batch holds is a function of the seed, the set and its indices.
///
/// Safe to use from several threads: what changes is guarded by locks, and `empty` is only read.
public final class LatentSetData: DistillationData, @unchecked Sendable {
    private let reader: LatentSetReader
    private let options: LatentSetOptions
    private let encoder: PromptEncoder
    /// The rows of each group that are read.
    private let rows: [[UInt32]]
    /// Whether batches follow the rows of the only group that is read, instead of a random order.
    private let isInOrder: Bool
    // Guarded by `lock`.
    private var order: SampleOrder
    private var embeddings: TextEmbeddingCache
    private let lock = NSLock()
    private let prefetch = Mutex<Prefetch?>(nil)
    private let empty: TextEmbedding
    private let usesAddedConditions: Bool

    /// A batch that is computed in the background.
    private final class Prefetch: @unchecked Sendable {
        let indices: Range<Int>
        let textDropping: Float
        private let done = DispatchSemaphore(value: 0)
        /// Written before and read after the semaphore is signaled.
        private var result: Result<DistillationBatch, any Error>?

        init(
            _ indices: Range<Int>, _ textDropping: Float, _ compute: @escaping @Sendable () throws -> DistillationBatch
        ) {
            self.indices = indices
            self.textDropping = textDropping
            DispatchQueue.global(qos: .userInitiated).async { [self] in
                result = Result { try compute() }
                done.signal()
            }
        }

        func wait() throws -> DistillationBatch? {
            done.wait()
            return try result?.get()
        }
    }

    /// Opens the set for training `config`'s model.
    ///
    /// - Parameters:
    ///   - reader: the set.
    ///   - config: the config of the trained model.
    ///   - encoder: the text encoders, which embed the captions; they are not trained.
    ///   - options: batches, seed and memory.
    /// - Throws: `DataSetError` for a set of another kind of model; the tokenizer's error.
    public convenience init(
        _ reader: LatentSetReader, for config: any DenoiserConfig, encoder: PromptEncoder, options: LatentSetOptions
    ) throws {
        try reader.validate(for: config, encoder)
        let empty = try encoder.emptyEmbedding()
        self.init(
            reader, encoder, options, rows: reader.groups.map { Array(0..<UInt32($0.count)) }, isInOrder: false,
            empty: TextEmbedding(context: empty.context, pooled: empty.pooled),
            usesAddedConditions: config.addedConditionsType != nil)
    }

    private init(
        _ reader: LatentSetReader, _ encoder: PromptEncoder, _ options: LatentSetOptions, rows: [[UInt32]],
        isInOrder: Bool, empty: TextEmbedding, usesAddedConditions: Bool
    ) {
        (self.reader, self.encoder, self.options) = (reader, encoder, options)
        (self.rows, self.isInOrder) = (rows, isInOrder)
        (self.empty, self.usesAddedConditions) = (empty, usesAddedConditions)
        order = SampleOrder(groups: rows, batchSize: options.batchSize, seed: options.seed)
        embeddings = TextEmbeddingCache(encoder, byteLimit: options.embeddingBytes)
    }

    public var sampleCount: Int? { rows.reduce(0) { $0 + $1.count } }

    /// Held-out samples are of the most frequent size, so that they can be computed together. If the set has too few of
    /// them, validation repeats samples.
    public func split(
        validation count: Int, seed: UInt64
    ) -> (training: any DistillationData, validation: any DistillationData) {
        let largest = rows.indices.reduce(0) { rows[$1].count > rows[$0].count ? $1 : $0 }
        let total = rows[largest].count
        let chosen = total == 1 ? [0] : HeldOutRows(min(count, total - 1), of: total, seed: seed).rows
        let heldOut = Set(chosen.map { rows[largest][$0] })
        func data(_ rows: [[UInt32]], isInOrder: Bool) -> LatentSetData {
            LatentSetData(
                reader, encoder, options, rows: rows, isInOrder: isInOrder, empty: empty,
                usesAddedConditions: usesAddedConditions)
        }
        var (remaining, validation) = (rows, rows.map { _ in [UInt32]() })
        remaining[largest].removeAll(where: heldOut.contains)
        validation[largest] = heldOut.sorted()
        return (data(remaining, isInOrder: false), data(validation, isInOrder: true))
    }

    /// Does not draw from `random`: captions and latents have random numbers of their own for each sample.
    public func batch(_ indices: Range<Int>, textDropping: Float, random: inout Philox) throws -> DistillationBatch {
        let prepared = prefetch.withLock { waiting in
            let found = waiting
            waiting = nil
            return found
        }
        let isPrepared = prepared?.indices == indices && prepared?.textDropping == textDropping
        // A batch that was not asked for is awaited as well, so that at most one is computed at a time.
        let result = try? prepared?.wait()
        let batch: DistillationBatch
        if isPrepared, let result {
            batch = result
        } else {
            batch = try compute(indices, textDropping: textDropping)
        }
        let next = following(indices)
        prefetch.withLock { waiting in
            waiting = Prefetch(next, textDropping) { [self] in try compute(next, textDropping: textDropping) }
        }
        return batch
    }

    /// The indices that training asks for next in this process: a later batch of the step, or one of the next step.
    private func following(_ indices: Range<Int>) -> Range<Int> {
        let step = indices.lowerBound / options.stepSize
        var (start, end) = (
            indices.lowerBound + options.process.count * options.batchSize, (step + 1) * options.stepSize
        )
        if start >= end { (start, end) = (end + options.process.rank * options.batchSize, end + options.stepSize) }
        return start..<min(start + options.batchSize, max(end, start + 1))
    }

    private func compute(_ indices: Range<Int>, textDropping: Float) throws -> DistillationBatch {
        try lock.withLock {
            let positions = positions(of: indices)
            return try withoutGradients {
                let samples = try zip(positions, indices).map { position, index in
                    try sample(position, index, textDropping)
                }
                return joined(samples)
            }
        }
    }

    /// The samples of a batch.
    private func positions(of indices: Range<Int>) -> [SamplePosition] {
        if isInOrder, let group = rows.firstIndex(where: { !$0.isEmpty }) {
            return indices.map { SamplePosition(group: group, row: Int(rows[group][$0 % rows[group].count])) }
        }
        let (step, offset) = indices.lowerBound.quotientAndRemainder(dividingBy: options.stepSize)
        let batchesPerStep = (options.stepSize + options.batchSize - 1) / options.batchSize
        return order.batch(step * batchesPerStep + offset / options.batchSize)
    }

    /// One sample with a batch axis of 1.
    private struct Sample {
        let latents: Tensor
        let text: TextEmbedding
        let timeIDs: Tensor
        let trajectory: (sample: Tensor, timestep: Float)?
    }

    private func sample(_ position: SamplePosition, _ index: Int, _ textDropping: Float) throws -> Sample {
        var random = Philox(seed: options.seed ^ fnv1a("latent set"), stream: UInt64(index))
        let group = reader.groups[position.group], row = position.row
        let captions = try reader.captionRange(row, of: group)
        let caption = captions.lowerBound + random.nextInt(below: captions.count)
        let isDropped = random.nextUniform() < textDropping
        let text = isDropped ? empty : embeddings.embedding(try reader.tokenIDs(caption))
        let time = random.nextUniform()
        random.skipToBlock()
        let latents = try reader.sample(row, of: group) { random.normal($0) }
        let trajectory = try reader.values(LatentSetName.trajectory, row, of: group).map { states in
            let times = reader.settings.trajectoryTimesteps
            let index = min(Int(time * Float(times.count)), times.count - 1)
            return (
                sample: states.sliced(axis: 1, index..<index + 1).reshaped([1] + states.shape.dropFirst(2)),
                timestep: times[index]
            )
        }
        return Sample(
            latents: latents, text: text, timeIDs: try reader.timeIDs(row, of: group), trajectory: trajectory)
    }

    private func joined(_ samples: [Sample]) -> DistillationBatch {
        func rows(_ values: [Tensor]) -> Tensor { values.count == 1 ? values[0] : .concatenated(values, axis: 0) }
        let pooled = samples.compactMap(\.text.pooled)
        let trajectories = samples.compactMap(\.trajectory)
        return DistillationBatch(
            samples: rows(samples.map(\.latents)), encoderHiddenStates: rows(samples.map(\.text.context)),
            addedConditions: usesAddedConditions
                ? AddedConditions(textEmbeds: rows(pooled), timeIDs: rows(samples.map(\.timeIDs))) : nil,
            states: trajectories.isEmpty
                ? nil
                : TrajectoryStates(
                    samples: rows(trajectories.map(\.sample)), timesteps: trajectories.map(\.timestep)))
    }
}

extension LatentSetReader {
    /// Checks that the set was made for models like `config`'s with text encoders like `encoder`'s.
    ///
    /// - Throws: `DataSetError`.
    func validate(for config: any DenoiserConfig, _ encoder: PromptEncoder) throws {
        let names = encoder.encoders.map(\.name)
        guard settings.textEncoders == names else {
            throw DataSetError.otherModel(
                file: path, property: "text encoders", expected: listed(names), found: listed(settings.textEncoders))
        }
        for (index, encoder) in encoder.encoders.enumerated() {
            let found = tokenCounts[index]
            let expected = encoder.config.maxPositionEmbeddings
            guard found == expected else {
                throw DataSetError.otherModel(
                    file: path, property: "tokens of a caption", expected: "\(expected)", found: "\(found)")
            }
            try checkTokenIDs(index, below: encoder.config.vocabSize)
        }
        for group in groups {
            let channels = group.channels + settings.conditionChannels
            guard channels == config.inChannels, group.channels == config.inChannels - config.conditionChannels else {
                throw DataSetError.otherModel(
                    file: path, property: "channels of latents and conditions",
                    expected: "\(config.inChannels - config.conditionChannels) + \(config.conditionChannels)",
                    found: "\(group.channels) + \(settings.conditionChannels)")
            }
            do throws(DenoiserInputError) {
                let added = config.addedConditionsType != nil
                try config.validate(
                    sample: [1, channels, group.height, group.width], timestep: [1],
                    encoderHiddenStates: [1, tokenCounts.first ?? 0, config.contextSize],
                    textEmbeds: added ? encoder.encoders.last.map { [1, $0.config.projectionDim] } : nil,
                    timeIDs: added ? [1, 6] : nil)
            } catch {
                throw DataSetError.otherModel(
                    file: path, property: "latents of \(group.height) x \(group.width)", expected: "a suitable shape",
                    found: "\(error)")
            }
        }
    }
}
