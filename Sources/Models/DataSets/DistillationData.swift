// SPDX-License-Identifier: Apache-2.0
// What distillation is fed: noiseless samples with their text conditions. B batch, C channels, T tokens, D width.

import Tensors

/// One batch.
public struct DistillationBatch {
    /// `[B, C, H, W]`, images in [-1, 1] or latents.
    public let samples: Tensor
    /// `[B, T, D]`; dropped captions are the empty prompt's already.
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

/// A source of batches, each a function of its indices (and of `random`, which is the step's own) alone.
public protocol DistillationData {
    /// Samples `indices` of an endless row, with a share `textDropping` of the captions replaced by the empty prompt.
    func batch(_ indices: Range<Int>, textDropping: Float, random: inout Philox) throws -> DistillationBatch
}

/// A stored set of latents with their text embeddings.
public struct StoredDistillationData: DistillationData {
    /// `[N, C, H, W]`.
    public let latents: Tensor
    /// `[N, T, D]`.
    public let encoderHiddenStates: Tensor
    /// `[1, T, D]`: the empty prompt.
    public let emptyHiddenStates: Tensor

    /// - Precondition: N agrees, and T and D.
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
