// SPDX-License-Identifier: Apache-2.0
// Some samples of a data set: an analysis compares predictions on them in the place of images that the model samples,
// and an evaluation takes their captions and conditions. Inpainting and InstructPix2Pix models, which need images to
// sample, are measured so.
// K samples, IC input channels, H W size.

import Files
import Networks
import Pipelines
import Tensors

/// Noiseless samples with their conditions.
public struct CalibrationSamples {
    /// `[K, IC, H, W]`: latents as the denoiser works on them, followed by the condition channels.
    public let samples: Tensor
    /// The caption of each sample; empty for sets without captions.
    public let captions: [String]
    public let conditions: PromptEmbeddings

    /// K samples of the set at `path`, evenly spaced over those of the most frequent size.
    ///
    /// - Parameters:
    ///   - path: a latent set, or a set of another program (Docs/Formats.md).
    ///   - count: K; at most as many as the set has.
    ///   - pipeline: the model, with text encoders for a latent set.
    /// - Throws: `DataSetError`, `FileError`, `HDF5Error`; `PipelineError.noTextEncoder`.
    public init(contentsOf path: String, count: Int, pipeline: DiffusionPipeline) throws {
        if try LatentSetReader.isLatentSet(path) {
            try self.init(
                LatentSetReader(path), count: count, for: pipeline.denoiser.config, encoder: PromptEncoder(pipeline))
        } else {
            try self.init(StoredDistillationData(contentsOf: path, for: pipeline.denoiser.config), count: count)
        }
    }

    /// K samples of a latent set, evenly spaced over those of the most frequent size.
    ///
    /// - Throws: `DataSetError`, `HDF5Error`.
    public init(
        _ set: LatentSetReader, count: Int, for config: any DenoiserConfig, encoder: PromptEncoder
    ) throws {
        try set.validate(for: config, encoder)
        let group = set.groups.dropFirst().reduce(set.groups[0]) { $1.count > $0.count ? $1 : $0 }
        let count = min(count, group.count)
        var (samples, captions, parts): ([Tensor], [String], [PromptEmbeddings]) = ([], [], [])
        let empty = try encoder.emptyEmbedding()
        for index in 0..<count {
            let row = index * group.count / count
            let caption = try set.captionRange(row, of: group).lowerBound
            samples.append(try set.sample(row, of: group, noise: nil))
            captions.append(try set.caption(caption))
            let (context, pooled) = encoder.encode(tokenIDs: [try set.tokenIDs(caption)])
            let timeIDs = try set.timeIDs(row, of: group)
            parts.append(
                PromptEmbeddings(
                    conditional: context, unconditional: empty.context,
                    added: pooled.flatMap { pooled in
                        empty.pooled.map { none in
                            (
                                AddedConditions(textEmbeds: pooled, timeIDs: timeIDs),
                                AddedConditions(textEmbeds: none, timeIDs: timeIDs)
                            )
                        }
                    }))
        }
        self.samples = .concatenated(samples, axis: 0)
        self.captions = captions
        conditions = .concatenated(parts)
    }

    private init(_ set: StoredDistillationData, count: Int) throws {
        let total = set.latents.shape[0], count = min(count, total)
        let rows = (0..<count).map { $0 * total / count }
        func gathered(_ stored: StoredRows) throws -> Tensor { .concatenated(try rows.map(stored.row), axis: 0) }
        func repeated(_ row: Tensor) -> Tensor { .concatenated(rows.map { _ in row }, axis: 0) }
        samples = try gathered(set.latents)
        captions = []
        conditions = PromptEmbeddings(
            conditional: try gathered(set.encoderHiddenStates), unconditional: repeated(set.emptyHiddenStates),
            added: try set.addedConditions.map { added in
                let timeIDs = try gathered(StoredRows(added.timeIDs))
                return (
                    AddedConditions(textEmbeds: try gathered(added.textEmbeds), timeIDs: timeIDs),
                    AddedConditions(textEmbeds: repeated(added.emptyTextEmbeds), timeIDs: timeIDs)
                )
            })
    }
}
