// SPDX-License-Identifier: Apache-2.0
// Training data of distillation: noiseless samples with their text embeddings, and stored sets of them in HDF5 files as
// in `Docs/Formats.md`. B batch, N samples, C channels, T tokens, D embedding dimensions.

import Checkpoints
import Networks
import Pipelines
import Tensors

/// A batch of training data.
public struct DistillationBatch {
    /// `[B, C, H, W]`, images in [-1, 1] or latents.
    public let samples: Tensor
    /// `[B, T, D]`. Dropped captions are replaced by the empty prompt.
    public let encoderHiddenStates: Tensor

    /// - Precondition: one condition per sample.
    public init(samples: Tensor, encoderHiddenStates: Tensor) {
        precondition(
            samples.shape.first == encoderHiddenStates.shape.first,
            "distillation batch: samples \(samples.shape), conditions \(encoderHiddenStates.shape)")
        self.samples = samples
        self.encoderHiddenStates = encoderHiddenStates
    }
}

/// A source of batches. A batch depends only on its indices and on `random`, the stream of its step.
public protocol DistillationData {
    /// Samples `indices` of an endless sequence, with a share `textDropping` of the captions replaced by the empty
    /// prompt.
    func batch(_ indices: Range<Int>, textDropping: Float, random: inout Philox) throws -> DistillationBatch
}

/// A set of latents with their text embeddings, in memory. Batches are drawn at random, with replacement.
public struct StoredDistillationData: DistillationData {
    /// `[N, C, H, W]`.
    public let latents: Tensor
    /// `[N, T, D]`.
    public let encoderHiddenStates: Tensor
    /// `[1, T, D]`: the empty prompt.
    public let emptyHiddenStates: Tensor

    /// - Precondition: N, T and D are consistent.
    public init(latents: Tensor, encoderHiddenStates: Tensor, emptyHiddenStates: Tensor) {
        precondition(
            latents.shape.first == encoderHiddenStates.shape.first
                && emptyHiddenStates.shape == [1] + encoderHiddenStates.shape.dropFirst(),
            "distillation data: latents \(latents.shape), conditions \(encoderHiddenStates.shape), "
                + "empty prompt \(emptyHiddenStates.shape)")
        self.latents = latents
        self.encoderHiddenStates = encoderHiddenStates
        self.emptyHiddenStates = emptyHiddenStates
    }

    public func batch(_ indices: Range<Int>, textDropping: Float, random: inout Philox) -> DistillationBatch {
        let indices = indices.map { _ in random.nextInt(below: latents.shape[0]) }
        let states = indices.map { index in
            random.nextUniform() < textDropping
                ? emptyHiddenStates : encoderHiddenStates.sliced(axis: 0, index..<index + 1)
        }
        return DistillationBatch(
            samples: .concatenated(indices.map { latents.sliced(axis: 0, $0..<$0 + 1) }, axis: 0),
            encoderHiddenStates: .concatenated(states, axis: 0))
    }
}

extension StoredDistillationData {
    /// Reads a complete set into memory. Other datasets of the file, such as the captions' `text`, are ignored.
    ///
    /// - Parameters:
    ///   - path: an HDF5 file with `latents` `[N, C, H, W]`, `encoder_hidden_states` `[N, T, D]` and
    ///     `empty_hidden_states` `[1, T, D]`.
    ///   - config: the config of the trained model, which decides C and D.
    /// - Throws: `PipelineError.furtherConditions` for SDXL models; `FileError`, `HDF5Error` for a file that cannot be
    ///   read; `CheckpointError.missingKey`, `.elementType`, `.notFinite`, or `.shapeMismatch` if the shapes are
    ///   inconsistent or do not match the model.
    public init(contentsOf path: String, for config: any DenoiserConfig) throws {
        if let type = config.addedConditionsType {
            throw PipelineError.furtherConditions(value: type)
        }
        let set = try HDF5Tensors(
            path, group: "/", naming: .paths,
            only: ["latents", "encoder_hidden_states", "empty_hidden_states"])
        let latents = try set.tensor("latents")
        let count = latents.shape.first ?? 0
        let spatial = latents.rank == 4 ? Array(latents.shape.suffix(2)) : [0, 0]
        try Self.check(
            set, "latents", latents, [max(count, 1), config.inChannels] + spatial.map { max($0, 1) })
        let states = try set.tensor("encoder_hidden_states")
        let tokens = states.rank == 3 ? states.shape[1] : 0
        let dimensions = config.contextSize
        try Self.check(set, "encoder_hidden_states", states, [count, max(tokens, 1), dimensions])
        let empty = try set.tensor("empty_hidden_states")
        try Self.check(set, "empty_hidden_states", empty, [1, tokens, dimensions])
        self.init(latents: latents, encoderHiddenStates: states, emptyHiddenStates: empty)
    }

    private static func check(
        _ set: HDF5Tensors, _ key: String, _ tensor: Tensor, _ expected: [Int]
    ) throws(CheckpointError) {
        guard tensor.shape == expected else {
            throw .shapeMismatch(file: set.path, key: key, expected: expected, found: tensor.shape)
        }
    }
}
