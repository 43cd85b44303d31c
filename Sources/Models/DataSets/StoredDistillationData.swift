// SPDX-License-Identifier: Apache-2.0
// A set of latents with their text embeddings. Rows are read from the file when a batch needs them, so that the memory
// of training does not grow with the set.
// B batch, N samples, C channels of the model's input, T tokens, D embedding dimensions, P pooled text features, I time
// ids.

import Checkpoints
import Networks
import Tensors

/// The rows of the first axis of a tensor, in memory or in a file.
public struct StoredRows: Sendable {
    /// `[N, ...]`.
    public let shape: [Int]
    private let content: Content

    private enum Content {
        case memory(Tensor)
        case file(HDF5Tensors, key: String)
    }

    /// Rows in memory.
    public init(_ tensor: Tensor) {
        shape = tensor.shape
        content = .memory(tensor)
    }

    /// Rows of the float tensor `key` of a file.
    init(_ file: HDF5Tensors, key: String, shape: [Int]) {
        self.shape = shape
        content = .file(file, key: key)
    }

    /// Row `index` as `[1, ...]`.
    ///
    /// - Throws: `HDF5Error`, `CheckpointError.notFinite`.
    public func row(_ index: Int) throws -> Tensor {
        switch content {
        case .memory(let tensor): tensor.sliced(axis: 0, index..<index + 1)
        case .file(let file, let key): try file.rows(index..<index + 1).tensor(key)
        }
    }
}

/// SDXL's conditions of a stored set.
public struct StoredAddedConditions {
    /// Pooled text features, `[N, P]`.
    public let textEmbeds: StoredRows
    /// `[1, P]`: those of the empty prompt.
    public let emptyTextEmbeds: Tensor
    /// Original size, crop and target size in pixels, `[N, I]`.
    public let timeIDs: Tensor

    public init(textEmbeds: StoredRows, emptyTextEmbeds: Tensor, timeIDs: Tensor) {
        self.textEmbeds = textEmbeds
        self.emptyTextEmbeds = emptyTextEmbeds
        self.timeIDs = timeIDs
    }

    /// Conditions in memory.
    public init(textEmbeds: Tensor, emptyTextEmbeds: Tensor, timeIDs: Tensor) {
        self.init(textEmbeds: StoredRows(textEmbeds), emptyTextEmbeds: emptyTextEmbeds, timeIDs: timeIDs)
    }
}

/// A set of latents with their text embeddings. Batches are drawn at random, with replacement; those of the validation
/// data of a split are the held-out samples in order.
public struct StoredDistillationData: DistillationData {
    /// `[N, C, H, W]`.
    public let latents: StoredRows
    /// `[N, T, D]`.
    public let encoderHiddenStates: StoredRows
    /// `[1, T, D]`: the empty prompt.
    public let emptyHiddenStates: Tensor
    /// nil for models without added conditions.
    public let addedConditions: StoredAddedConditions?
    private var selection = RowSelection.all

    /// - Precondition: N, T, D and P are consistent.
    public init(
        latents: StoredRows, encoderHiddenStates: StoredRows, emptyHiddenStates: Tensor,
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

    /// A set in memory.
    ///
    /// - Precondition: as above.
    public init(
        latents: Tensor, encoderHiddenStates: Tensor, emptyHiddenStates: Tensor,
        addedConditions: StoredAddedConditions? = nil
    ) {
        self.init(
            latents: StoredRows(latents), encoderHiddenStates: StoredRows(encoderHiddenStates),
            emptyHiddenStates: emptyHiddenStates, addedConditions: addedConditions)
    }

    /// H and W.
    public var sampleSize: SampleSize { SampleSize(height: latents.shape[2], width: latents.shape[3]) }

    /// N, held-out samples included.
    public var sampleCount: Int? { latents.shape[0] }

    /// - Precondition: 0 < `count` < N; the set is not the result of a split.
    public func split(
        validation count: Int, seed: UInt64
    ) -> (training: any DistillationData, validation: any DistillationData) {
        precondition(selection == .all, "distillation data: split twice")
        let heldOut = HeldOutRows(count, of: latents.shape[0], seed: seed)
        var (training, validation) = (self, self)
        training.selection = .without(heldOut)
        validation.selection = .only(heldOut)
        return (training, validation)
    }

    public func batch(
        _ indices: Range<Int>, textDropping: Float, random: inout Philox
    ) throws -> DistillationBatch {
        let rows = selection.rows(indices, of: latents.shape[0], using: &random)
        let isDropped = rows.map { _ in random.nextUniform() < textDropping }
        func gathered(_ stored: StoredRows, empty: Tensor? = nil) throws -> Tensor {
            try .concatenated(
                zip(rows, isDropped).map { row, isDropped in
                    if isDropped, let empty { return empty }
                    return try stored.row(row)
                }, axis: 0)
        }
        return DistillationBatch(
            samples: try gathered(latents),
            encoderHiddenStates: try gathered(encoderHiddenStates, empty: emptyHiddenStates),
            addedConditions: try addedConditions.map { added in
                AddedConditions(
                    textEmbeds: try gathered(added.textEmbeds, empty: added.emptyTextEmbeds),
                    timeIDs: try gathered(StoredRows(added.timeIDs)))
            })
    }
}
