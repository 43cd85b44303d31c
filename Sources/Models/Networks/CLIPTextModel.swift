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
    /// Stable Diffusion XL's context is `hiddenStates[L - 1]`. With diffusers' `clip_skip` of n, Stable Diffusion 1's is
    /// `finalLayerNorm(hiddenStates[L - n])`.
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
    private let layers: [CLIPEncoderLayer]

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
        layers = try (0..<config.numHiddenLayers).map {
            try CLIPEncoderLayer(model / "encoder.layers" / $0, config)
        }
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
        var hidden = embeddings(ids, batch: batch)
        for layer in layers { hidden = layer(hidden) }
        return finalLayerNorm(hidden)
    }

    /// All outputs for a batch of texts of equal length; parameters as in `callAsFunction`.
    public func outputs(_ ids: [Int32], batch: Int) -> CLIPTextOutput {
        var hiddenStates = [embeddings(ids, batch: batch)]
        for layer in layers { hiddenStates.append(layer(hiddenStates[hiddenStates.count - 1])) }
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
    /// Configs of early checkpoints (Stable Diffusion 1 and XL among them) have `eos_token_id` 2, which is not the id of
    /// CLIP's end token. For these, as in transformers, the position of the largest id counts: the end token has it.
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
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(config: CLIPTextConfig, parameters: ParameterPath) throws {
        textModel = try CLIPTextModel(config: config, parameters: parameters)
        textProjection = try Linear(
            parameters / "text_projection", in: config.hiddenSize, out: config.projectionDim, bias: false)
    }

    /// The projected text embeddings, `[B, P]`, and the outputs of the encoder; parameters as of `CLIPTextModel`.
    public func outputs(_ ids: [Int32], batch: Int) -> (textEmbeds: Tensor, encoder: CLIPTextOutput) {
        let encoder = textModel.outputs(ids, batch: batch)
        return (textProjection(encoder.poolerOutput), encoder)
    }
}

/// One pre-norm transformer layer: self-attention and a feed-forward network, each with a residual connection.
private final class CLIPEncoderLayer {
    private let layerNorm1, layerNorm2: LayerNorm
    private let qProj, kProj, vProj, outProj: Linear
    private let fc1, fc2: Linear
    private let config: CLIPTextConfig

    init(_ parameters: ParameterPath, _ config: CLIPTextConfig) throws {
        self.config = config
        let channels = config.hiddenSize
        let attention = parameters / "self_attn"
        layerNorm1 = try LayerNorm(parameters / "layer_norm1", channels: channels, epsilon: config.layerNormEps)
        qProj = try Linear(attention / "q_proj", in: channels, out: channels)
        kProj = try Linear(attention / "k_proj", in: channels, out: channels)
        vProj = try Linear(attention / "v_proj", in: channels, out: channels)
        outProj = try Linear(attention / "out_proj", in: channels, out: channels)
        layerNorm2 = try LayerNorm(parameters / "layer_norm2", channels: channels, epsilon: config.layerNormEps)
        fc1 = try Linear(parameters / "mlp.fc1", in: channels, out: config.intermediateSize)
        fc2 = try Linear(parameters / "mlp.fc2", in: config.intermediateSize, out: channels)
    }

    /// `x` `[B, T, D]` -> the same shape.
    func callAsFunction(_ x: Tensor) -> Tensor {
        let tokens = layerNorm1(x)
        let attended = scaledDotProductAttention(
            qProj(tokens), kProj(tokens), vProj(tokens), heads: config.numAttentionHeads,
            causal: config.causalAttention)
        let hidden = outProj(attended) + x
        return fc2(config.hiddenAct(fc1(layerNorm2(hidden)))) + hidden
    }
}
