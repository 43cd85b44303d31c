// SPDX-License-Identifier: Apache-2.0
// A transformer text encoder: learned token and position embeddings, pre-norm layers of self-attention and a
// feed-forward network, a last norm. Keys and computation are those of CLIP's text model as `transformers` names
// them (`text_model.encoder.layers.0.self_attn.q_proj.weight`). B batch, T tokens, D width.

import Layers
import Tensors

/// Turns token ids into the context that a UNet attends to.
public final class TextEncoder {
    /// The architecture.
    public let config: TextEncoderConfig
    /// Every parameter and every layer with an exchangeable weight.
    public let store: ParameterStore

    private let tokenEmbedding, positionEmbedding: Embedding
    private let layers: [TextEncoderLayer]
    private let finalLayerNorm: LayerNorm

    /// Builds the encoder from the parameters below `parameters` (the root of its state_dict).
    ///
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(config: TextEncoderConfig, parameters: ParameterPath) throws {
        self.config = config
        store = parameters.store
        let model = parameters / "text_model"
        // Unit tables: with CLIP's 0.02 the first layer's output would drown words and places, and a small encoder
        // takes long to tell them apart again.
        tokenEmbedding = try Embedding(
            model / "embeddings.token_embedding", rows: config.vocabSize, width: config.width, std: 1)
        positionEmbedding = try Embedding(
            model / "embeddings.position_embedding", rows: config.maxLength, width: config.width, std: 1)
        layers = try (0..<config.layers).map {
            try TextEncoderLayer(model / "encoder.layers" / $0, config)
        }
        finalLayerNorm = try LayerNorm(model / "final_layer_norm", width: config.width)
    }

    /// Encodes a batch of equally long texts.
    ///
    /// - Parameters:
    ///   - ids: B·T token ids, text after text, each in `0 ..< vocabSize`.
    ///   - batch: B; divides the number of ids, and T is at most `maxLength`.
    /// - Returns: `[B, T, D]`.
    public func callAsFunction(_ ids: [Int32], batch: Int) -> Tensor {
        precondition(
            batch > 0 && ids.count % batch == 0, "text encoder: \(ids.count) ids are not \(batch) equal texts"
        )
        let length = ids.count / batch
        precondition(
            length <= config.maxLength, "text encoder: \(length) tokens, at most \(config.maxLength) fit")
        let positions = positionEmbedding((0..<length).map(Int32.init), shape: [1, length])
        var hidden = tokenEmbedding(ids, shape: [batch, length]) + positions
        for layer in layers { hidden = layer(hidden) }
        return finalLayerNorm(hidden)
    }
}

/// One pre-norm transformer layer.
private final class TextEncoderLayer {
    private let layerNorm1, layerNorm2: LayerNorm
    private let qProj, kProj, vProj, outProj: Linear
    private let fc1, fc2: Linear
    private let config: TextEncoderConfig

    init(_ parameters: ParameterPath, _ config: TextEncoderConfig) throws {
        self.config = config
        let width = config.width
        let attention = parameters / "self_attn"
        layerNorm1 = try LayerNorm(parameters / "layer_norm1", width: width)
        qProj = try Linear(attention / "q_proj", in: width, out: width)
        kProj = try Linear(attention / "k_proj", in: width, out: width)
        vProj = try Linear(attention / "v_proj", in: width, out: width)
        outProj = try Linear(attention / "out_proj", in: width, out: width)
        layerNorm2 = try LayerNorm(parameters / "layer_norm2", width: width)
        fc1 = try Linear(parameters / "mlp.fc1", in: width, out: 4 * width)
        fc2 = try Linear(parameters / "mlp.fc2", in: 4 * width, out: width)
    }

    /// `x` `[B, T, D]` -> the same shape.
    func callAsFunction(_ x: Tensor) -> Tensor {
        let tokens = layerNorm1(x)
        let attended = scaledDotProductAttention(
            qProj(tokens), kProj(tokens), vProj(tokens), heads: config.heads, causal: config.causal)
        let hidden = outProj(attended) + x
        return fc2(config.activation.function(fc1(layerNorm2(hidden)))) + hidden
    }
}
