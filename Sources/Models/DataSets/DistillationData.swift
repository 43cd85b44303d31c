// SPDX-License-Identifier: Apache-2.0
// Training data of distillation: noiseless samples with their text embeddings.
// B batch, N samples, C channels of the model's input, T tokens, D embedding dimensions, P pooled text features, I time
// ids.

import Networks
import Tensors

/// A batch of training data.
public struct DistillationBatch {
    /// `[B, C, H, W]`, images in [-1, 1] or latents. Of a model with condition channels, such as an inpainting model,
    /// these are the last ones; they get no noise and are not predicted.
    public let samples: Tensor
    /// `[B, T, D]`. Dropped captions are replaced by the empty prompt.
    public let encoderHiddenStates: Tensor
    /// Of models with added conditions, such as SDXL; the text features of dropped captions are replaced as well.
    public let addedConditions: AddedConditions?
    /// Inputs of the teacher on its own trajectories, which stage I takes in the place of samples with noise; nil
    /// where the data has none.
    public let states: TrajectoryStates?

    /// - Precondition: one condition per sample.
    public init(
        samples: Tensor, encoderHiddenStates: Tensor, addedConditions: AddedConditions? = nil,
        states: TrajectoryStates? = nil
    ) {
        let counts = [encoderHiddenStates, addedConditions?.textEmbeds, addedConditions?.timeIDs]
            .compactMap { $0?.shape.first }
        precondition(
            counts.allSatisfy { $0 == samples.shape.first },
            "distillation batch: samples \(samples.shape), conditions of \(counts) samples")
        self.samples = samples
        self.encoderHiddenStates = encoderHiddenStates
        self.addedConditions = addedConditions
        self.states = states
    }
}

/// Inputs of a denoiser while it samples.
public struct TrajectoryStates {
    /// `[B, C, H, W]`, scaled as the denoiser takes them.
    public let samples: Tensor
    /// One for each sample.
    public let timesteps: [Float]

    public init(samples: Tensor, timesteps: [Float]) {
        precondition(samples.shape.first == timesteps.count, "trajectory: \(samples.shape), \(timesteps.count) times")
        self.samples = samples
        self.timesteps = timesteps
    }
}

/// A source of batches. A batch depends only on its indices and on `random`, the stream of its step.
public protocol DistillationData {
    /// The number of different samples; nil for samples that are generated without end.
    var sampleCount: Int? { get }

    /// Samples `indices` of an endless sequence, with a share `textDropping` of the captions replaced by the empty
    /// prompt.
    func batch(_ indices: Range<Int>, textDropping: Float, random: inout Philox) throws -> DistillationBatch

    /// Holds samples out of the training for validation. Which ones depends on the data, `count` and `seed` alone.
    ///
    /// - Parameters:
    ///   - count: the number of held-out samples, at least 1 and less than `sampleCount`.
    ///   - seed: chooses the samples.
    /// - Returns: the training data, which never contain a held-out sample; and the validation data, whose samples
    ///   `0 ..< count` are the held-out ones, each once. Of the validation data, `random` decides only which captions
    ///   are dropped, with one uniform value per sample from its position on, if anything.
    func split(
        validation count: Int, seed: UInt64
    ) -> (training: any DistillationData, validation: any DistillationData)
}
