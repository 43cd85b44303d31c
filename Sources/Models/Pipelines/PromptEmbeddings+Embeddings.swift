// SPDX-License-Identifier: Apache-2.0
// Conditions of models without a text encoder: embeddings from another program, in a safetensors file under the names
// of diffusers. B images, T tokens, D context size.

import Checkpoints
import Networks
import Tensors

extension PromptEmbeddings {
    /// Reads the conditions of B images from a file.
    ///
    ///     encoder_hidden_states            [B, T, D]
    ///     negative_encoder_hidden_states   [B, T, D], or [1, T, D] for all images
    ///
    /// - Parameters:
    ///   - path: a safetensors file of floats of 16 or 32 bits.
    ///   - config: the model that the embeddings are for.
    /// - Throws: `FileError`, `SafetensorsError`, `CheckpointError` for a file that cannot be read or has other types
    ///   or values that are not finite; `PipelineError.embeddingShape`; `DenoiserInputError.missing` where one of the
    ///   two is missing, and for models with added conditions, such as SDXL.
    public init(embeddings path: String, config: any DenoiserConfig) throws {
        let file = try SafetensorsReader(path)
        guard file.stored("encoder_hidden_states") != nil else {
            throw DenoiserInputError.missing(
                name: "encoder_hidden_states", neededBy: "the model's cross-attention")
        }
        let positive = try file.tensor("encoder_hidden_states")
        guard positive.rank == 3, positive.shape.allSatisfy({ $0 > 0 }), positive.shape[2] == config.contextSize else {
            throw PipelineError.embeddingShape(
                key: "encoder_hidden_states", expected: "[B, T, \(config.contextSize)]", found: positive.shape)
        }
        try config.validate(
            sample: [positive.shape[0], config.inChannels, 64, 64], timestep: [1],
            encoderHiddenStates: positive.shape)
        let key = "negative_encoder_hidden_states"
        guard file.stored(key) != nil else {
            throw DenoiserInputError.missing(name: key, neededBy: "classifier-free guidance")
        }
        var negative = try file.tensor(key)
        if negative.shape == [1] + positive.shape.dropFirst() { negative = negative.expanded(positive.shape) }
        guard negative.shape == positive.shape else {
            throw PipelineError.embeddingShape(
                key: key, expected: "\(positive.shape) or one row of it", found: negative.shape)
        }
        self.init(conditional: positive, unconditional: negative)
    }
}
