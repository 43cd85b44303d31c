// SPDX-License-Identifier: Apache-2.0
// Conditions of models without a text encoder: embeddings from another program, in a safetensors file under the names
// of diffusers. B images, T tokens, D context size, P pooled text features, I time ids.

import Checkpoints
import Networks
import Tensors

extension PromptEmbeddings {
    /// Reads the conditions of B images from a file.
    ///
    ///     encoder_hidden_states            [B, T, D]
    ///     negative_encoder_hidden_states   [B, T, D], or [1, T, D] for all images
    ///
    /// and for models with added conditions, such as SDXL:
    ///
    ///     text_embeds                      [B, P]
    ///     negative_text_embeds             [B, P], or [1, P] for all images
    ///     time_ids                         [B, I], or [1, I] for all images; floats or integers
    ///     negative_time_ids                as time_ids, which are taken where they are missing
    ///
    /// - Parameters:
    ///   - path: a safetensors file of floats of 16 or 32 bits.
    ///   - config: the model that the embeddings are for.
    /// - Throws: `FileError`, `SafetensorsError`, `CheckpointError` for a file that cannot be read or has other types;
    ///   `PipelineError.embeddingShape`, `DenoiserInputError.shape` for shapes that do not fit; `DenoiserInputError`
    ///   `.missing` where one of the tensors is missing, `.notFinite` for values that are not finite.
    public init(embeddings path: String, config: any DenoiserConfig) throws {
        let file = try SafetensorsReader(path)
        guard file.stored("encoder_hidden_states") != nil else {
            throw DenoiserInputError.missing(
                name: "encoder_hidden_states", neededBy: "the model's cross-attention")
        }
        let positive = try file.input("encoder_hidden_states")
        guard positive.rank == 3, positive.shape.allSatisfy({ $0 > 0 }), positive.shape[2] == config.contextSize else {
            throw PipelineError.embeddingShape(
                key: "encoder_hidden_states", expected: "[B, T, \(config.contextSize)]", found: positive.shape)
        }
        let count = positive.shape[0]
        let isAdded = config.addedConditionsType != nil
        let text = try isAdded ? file.optional("text_embeds") : nil
        let sizes = try isAdded ? file.optional("time_ids", rows: count) : nil
        try config.validate(
            sample: [count, config.inChannels, 64, 64], timestep: [1], encoderHiddenStates: positive.shape,
            textEmbeds: text?.shape, timeIDs: sizes?.shape)
        let negative = try file.negative("negative_encoder_hidden_states", of: positive)
        guard let text, let sizes else {
            self.init(conditional: positive, unconditional: negative)
            return
        }
        let negativeText = try file.negative("negative_text_embeds", of: text)
        let hasNegativeSizes = file.stored("negative_time_ids") != nil
        let negativeSizes = try hasNegativeSizes ? file.negative("negative_time_ids", of: sizes) : sizes
        self.init(
            conditional: positive, unconditional: negative,
            added: (
                AddedConditions(textEmbeds: text, timeIDs: sizes),
                AddedConditions(textEmbeds: negativeText, timeIDs: negativeSizes)
            ))
    }
}

extension TensorSource {
    /// The tensor `key` of floats or integers, as `time_ids` are stored.
    ///
    /// - Throws: as `tensor(_:)`.
    package func numbers(_ key: String) throws -> Tensor {
        guard let stored = stored(key), let type = stored.type, type.elementType == nil else {
            return try tensor(key)
        }
        return Tensor(try integers(key).map(Float.init), shape: stored.shape)
    }

    /// `numbers(key)` as an input of the model.
    ///
    /// - Throws: `DenoiserInputError.notFinite`, and as `tensor(_:)`.
    package func input(_ key: String) throws -> Tensor {
        do {
            return try numbers(key)
        } catch CheckpointError.notFinite(_, _, let index, let count) {
            throw DenoiserInputError.notFinite(name: key, index: index, count: count)
        }
    }

    /// `input(key)`, with a single row repeated `rows` times; nil where there is no such tensor.
    fileprivate func optional(_ key: String, rows: Int = 1) throws -> Tensor? {
        guard stored(key) != nil else { return nil }
        let tensor = try input(key)
        return tensor.rank > 1 && tensor.shape[0] == 1 ? tensor.expanded([rows] + tensor.shape.dropFirst()) : tensor
    }

    /// The counterpart `key` of `positive` for the negative prompt: of its shape, or one row of it.
    fileprivate func negative(_ key: String, of positive: Tensor) throws -> Tensor {
        guard stored(key) != nil else {
            throw DenoiserInputError.missing(name: key, neededBy: "classifier-free guidance")
        }
        let negative = try input(key)
        if negative.shape == [1] + positive.shape.dropFirst() { return negative.expanded(positive.shape) }
        guard negative.shape == positive.shape else {
            throw PipelineError.embeddingShape(
                key: key, expected: "\(positive.shape) or one row of it", found: negative.shape)
        }
        return negative
    }
}
