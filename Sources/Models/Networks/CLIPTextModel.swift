// SPDX-License-Identifier: Apache-2.0
// CLIP's text encoders. Parameter names and computation match transformers' `CLIPTextModel` and
// `CLIPTextModelWithProjection` (models/clip/modeling_clip.py).
// B batch, T tokens, D hidden size, L layers, P projection size.

import Layers
import Tensors

/// What a text encoder computes from token ids.
public struct CLIPTextOutput {
    /// `hiddenStates[L]` after the final layer norm, `[B, T, D]`: the context of Stable Diffusion 1 and 2.
    public let lastHiddenState: Tensor
    /// The row of `lastHiddenState` at the end of each text, `[B, D]`.
    public let poolerOutput: Tensor
    /// L + 1 tensors `[B, T, D]` without the final layer norm: the embeddings, then the output of each layer.
    ///
    /// Stable Diffusion XL's context is `hiddenStates[L - 1]`. With diffusers' `clip_skip` n, the context of Stable
    /// Diffusion 1 is `finalLayerNorm(hiddenStates[L - n])`.
    public let hiddenStates: [Tensor]
}

/// Converts token ids to the context that a denoiser attends to.
public final class CLIPTextModel {
    public let config: CLIPTextConfig
    /// All parameters, and all layers with a replaceable weight.
    public let store: ParameterStore
    /// `text_model.final_layer_norm`, to be applied to an earlier hidden state where `clip_skip` is used.
    public let finalLayerNorm: LayerNorm

    private let tokenEmbedding, positionEmbedding: Embedding
    private let encoder: CLIPEncoder

    /// Builds the encoder from the parameters below `parameters` (the root of its state_dict).
    ///
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(config: CLIPTextConfig, parameters: ParameterPath) throws {
        self.config = config
        store = parameters.store
        let model = parameters / "text_model"
        // Random tables start with standard deviation 1, not with CLIP's 0.02: the first layer's output would hide
        // embeddings that small, and a small encoder needs many steps to distinguish tokens and positions again.
        tokenEmbedding = try Embedding(
            model / "embeddings.token_embedding", rows: config.vocabSize, channels: config.hiddenSize, std: 1)
        positionEmbedding = try Embedding(
            model / "embeddings.position_embedding", rows: config.maxPositionEmbeddings, channels: config.hiddenSize,
            std: 1)
        encoder = try CLIPEncoder(model / "encoder", config.encoder, causal: config.causalAttention)
        finalLayerNorm = try LayerNorm(
            model / "final_layer_norm", channels: config.hiddenSize, epsilon: config.layerNormEps)
    }

    /// The last hidden state of a batch of texts of equal length.
    ///
    /// - Parameters:
    ///   - ids: B·T token ids, text after text, each in `0 ..< vocabSize`.
    ///   - batch: B; divides the number of ids. T is at most `maxPositionEmbeddings`.
    /// - Returns: `[B, T, D]`.
    public func callAsFunction(_ ids: [Int32], batch: Int) -> Tensor {
        finalLayerNorm(encoder(embeddings(ids, batch: batch)))
    }

    /// All outputs for a batch of texts of equal length; parameters as in `callAsFunction`.
    public func outputs(_ ids: [Int32], batch: Int) -> CLIPTextOutput {
        let hiddenStates = encoder.hiddenStates(embeddings(ids, batch: batch))
        let lastHiddenState = finalLayerNorm(hiddenStates[hiddenStates.count - 1])
        return CLIPTextOutput(
            lastHiddenState: lastHiddenState, poolerOutput: pooled(lastHiddenState, ids: ids),
            hiddenStates: hiddenStates)
    }

    /// `[B, T, D]`, the sum of token and position embeddings.
    private func embeddings(_ ids: [Int32], batch: Int) -> Tensor {
        precondition(
            batch > 0 && ids.count % batch == 0, "text encoder: \(ids.count) ids are not \(batch) texts of equal length"
        )
        let length = ids.count / batch
        precondition(
            length <= config.maxPositionEmbeddings,
            "text encoder: \(length) tokens, maximum \(config.maxPositionEmbeddings)")
        let positions = positionEmbedding((0..<length).map(Int32.init), shape: [1, length])
        return tokenEmbedding(ids, shape: [batch, length]) + positions
    }

    /// The row of `hidden` `[B, T, D]` at the end of each text -> `[B, D]`.
    private func pooled(_ hidden: Tensor, ids: [Int32]) -> Tensor {
        let (batch, length) = (hidden.shape[0], hidden.shape[1])
        let rows = (0..<batch).map { text in
            let start = text * length
            return Int32(start + endOfText(ids[start..<start + length]))
        }
        return embedding(rows, shape: [batch], weight: hidden.reshaped([batch * length, config.hiddenSize]))
    }

    /// The position in `ids` that is pooled, 0 where no token ends the text.
    ///
    /// Early checkpoints, Stable Diffusion 1 and XL among them, have `eos_token_id` 2 in their configs, which is not
    /// the id of CLIP's end token. For 2, as in transformers, the largest id is pooled, which is that of the end token.
    private func endOfText(_ ids: ArraySlice<Int32>) -> Int {
        let endToken = config.eosTokenID == 2 ? ids.max() : Int32(config.eosTokenID)
        return ids.firstIndex { $0 == endToken }.map { $0 - ids.startIndex } ?? 0
    }
}

/// A text encoder with a linear projection of the pooled output, such as Stable Diffusion XL's second encoder.
public final class CLIPTextModelWithProjection {
    /// The encoder without its projection.
    public let textModel: CLIPTextModel
    private let textProjection: Linear

    public var config: CLIPTextConfig { textModel.config }
    /// All parameters of encoder and projection, and all layers with a replaceable weight.
    public var store: ParameterStore { textModel.store }

    /// Builds the encoder from the parameters below `parameters` (the root of its state_dict).
    ///
    /// - Parameters:
    ///   - config: the architecture.
    ///   - parameters: the root of the state_dict.
    ///   - projectionDim: P; nil: that of `config`, which the text model of a `CLIPModel` does not use.
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(config: CLIPTextConfig, parameters: ParameterPath, projectionDim: Int? = nil) throws {
        textModel = try CLIPTextModel(config: config, parameters: parameters)
        textProjection = try Linear(
            parameters / "text_projection", in: config.hiddenSize, out: projectionDim ?? config.projectionDim,
            bias: false)
    }

    /// The projected text embeddings, `[B, P]`, and the outputs of the encoder; parameters as of `CLIPTextModel`.
    public func outputs(_ ids: [Int32], batch: Int) -> (textEmbeds: Tensor, encoder: CLIPTextOutput) {
        let encoder = textModel.outputs(ids, batch: batch)
        return (textProjection(encoder.poolerOutput), encoder)
    }
}
