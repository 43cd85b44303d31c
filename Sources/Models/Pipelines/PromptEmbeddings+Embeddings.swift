// SPDX-License-Identifier: Apache-2.0
// Conditions of models that came without a text encoder: embeddings that another program made, as a safetensors file
// with the names that diffusers' UNet gives them. B images, T tokens, D context width.

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
    /// - Throws: `CheckpointError` for a file that cannot be read; `PipelineError.embeddingShape`;
    ///   `UNetInputError.missing` where one of the two is not there, and for models that need more, as SDXL does.
    public init(embeddings path: String, config: UNet2DConditionConfig) throws {
        let file = try SafetensorsReader(path)
        let width = config.encoderHidDim ?? config.crossAttentionDim[0]
        guard file.stored("encoder_hidden_states") != nil else {
            throw UNetInputError.missing(
                name: "encoder_hidden_states", neededBy: "the model's cross-attention")
        }
        let positive = try file.tensor("encoder_hidden_states")
        guard positive.rank == 3, positive.shape.allSatisfy({ $0 > 0 }), positive.shape[2] == width else {
            throw PipelineError.embeddingShape(
                key: "encoder_hidden_states", expected: "[B, T, \(width)]", found: positive.shape)
        }
        try config.validate(
            sample: [positive.shape[0], config.inChannels, 64, 64], timestep: [1],
            encoderHiddenStates: positive.shape)
        let key = "negative_encoder_hidden_states"
        guard file.stored(key) != nil else {
            throw UNetInputError.missing(name: key, neededBy: "classifier-free guidance")
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
