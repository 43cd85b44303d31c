// SPDX-License-Identifier: Apache-2.0
// Training data of distillation: noiseless samples with their text embeddings, in memory.
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

    /// - Precondition: one condition per sample.
    public init(samples: Tensor, encoderHiddenStates: Tensor, addedConditions: AddedConditions? = nil) {
        let counts = [encoderHiddenStates, addedConditions?.textEmbeds, addedConditions?.timeIDs]
            .compactMap { $0?.shape.first }
        precondition(
            counts.allSatisfy { $0 == samples.shape.first },
            "distillation batch: samples \(samples.shape), conditions of \(counts) samples")
        self.samples = samples
        self.encoderHiddenStates = encoderHiddenStates
        self.addedConditions = addedConditions
    }
}

/// A source of batches. A batch depends only on its indices and on `random`, the stream of its step.
public protocol DistillationData {
    /// Samples `indices` of an endless sequence, with a share `textDropping` of the captions replaced by the empty
    /// prompt.
    func batch(_ indices: Range<Int>, textDropping: Float, random: inout Philox) throws -> DistillationBatch
}

/// SDXL's conditions of a stored set.
public struct StoredAddedConditions {
    /// Pooled text features, `[N, P]`.
    public let textEmbeds: Tensor
    /// `[1, P]`: those of the empty prompt.
    public let emptyTextEmbeds: Tensor
    /// Original size, crop and target size in pixels, `[N, I]`.
    public let timeIDs: Tensor

    public init(textEmbeds: Tensor, emptyTextEmbeds: Tensor, timeIDs: Tensor) {
        self.textEmbeds = textEmbeds
        self.emptyTextEmbeds = emptyTextEmbeds
        self.timeIDs = timeIDs
    }
}

/// A set of latents with their text embeddings, in memory. Batches are drawn at random, with replacement.
public struct StoredDistillationData: DistillationData {
    /// `[N, C, H, W]`.
    public let latents: Tensor
    /// `[N, T, D]`.
    public let encoderHiddenStates: Tensor
    /// `[1, T, D]`: the empty prompt.
    public let emptyHiddenStates: Tensor
    /// nil for models without added conditions.
    public let addedConditions: StoredAddedConditions?

    /// - Precondition: N, T, D and P are consistent.
    public init(
        latents: Tensor, encoderHiddenStates: Tensor, emptyHiddenStates: Tensor,
        addedConditions: StoredAddedConditions? = nil
    ) {
        precondition(
            latents.shape.first == encoderHiddenStates.shape.first
                && emptyHiddenStates.shape == [1] + encoderHiddenStates.shape.dropFirst(),
            "distillation data: latents \(latents.shape), conditions \(encoderHiddenStates.shape), "
                + "empty prompt \(emptyHiddenStates.shape)")
        if let added = addedConditions {
            precondition(
                added.textEmbeds.shape.first == latents.shape.first && added.timeIDs.shape.first == latents.shape.first
                    && added.emptyTextEmbeds.shape == [1] + added.textEmbeds.shape.dropFirst(),
                "distillation data: latents \(latents.shape), text embeds \(added.textEmbeds.shape), those of the "
                    + "empty prompt \(added.emptyTextEmbeds.shape), time ids \(added.timeIDs.shape)")
        }
        self.latents = latents
        self.encoderHiddenStates = encoderHiddenStates
        self.emptyHiddenStates = emptyHiddenStates
        self.addedConditions = addedConditions
    }

    public func batch(_ indices: Range<Int>, textDropping: Float, random: inout Philox) -> DistillationBatch {
        let rows = indices.map { _ in random.nextInt(below: latents.shape[0]) }
        let isDropped = rows.map { _ in random.nextUniform() < textDropping }
        func gathered(_ tensor: Tensor, empty: Tensor? = nil) -> Tensor {
            .concatenated(
                zip(rows, isDropped).map { row, isDropped in
                    if isDropped, let empty { return empty }
                    return tensor.sliced(axis: 0, row..<row + 1)
                }, axis: 0)
        }
        return DistillationBatch(
            samples: gathered(latents),
            encoderHiddenStates: gathered(encoderHiddenStates, empty: emptyHiddenStates),
            addedConditions: addedConditions.map { added in
                AddedConditions(
                    textEmbeds: gathered(added.textEmbeds, empty: added.emptyTextEmbeds),
                    timeIDs: gathered(added.timeIDs))
            })
    }
}
