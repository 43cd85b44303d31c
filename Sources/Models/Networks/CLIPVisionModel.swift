// SPDX-License-Identifier: Apache-2.0
// CLIP's vision transformer. Parameter names and computation match transformers' `CLIPVisionModelWithProjection`
// (models/clip/modeling_clip.py); `pre_layrnorm` is its spelling.
// B batch, S image size, T = 1 + number of patches, D hidden size, P projection size.

import Layers
import Tensors

/// What a vision model computes from images.
public struct CLIPVisionOutput {
    /// The output of the last layer, `[B, T, D]`: the class token, then the patches row by row.
    public let lastHiddenState: Tensor
    /// The class token after the last layer norm, `[B, D]`.
    public let poolerOutput: Tensor
}

/// Encodes images as vectors of the space that CLIP's texts are encoded in.
public final class CLIPVisionModelWithProjection {
    public let config: CLIPVisionConfig
    /// All parameters, and all layers with a replaceable weight.
    public let store: ParameterStore

    private let classEmbedding: Parameter
    private let patchEmbedding: Conv2d
    private let positionEmbedding: Embedding
    private let preLayerNorm, postLayerNorm: LayerNorm
    private let encoder: CLIPEncoder
    private let visualProjection: Linear

    /// Builds the model from the parameters below `parameters` (the root of its state_dict).
    ///
    /// - Parameters:
    ///   - config: the architecture.
    ///   - parameters: the root of the state_dict.
    ///   - projectionDim: P; nil: that of `config`, which the vision model of a `CLIPModel` does not use.
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(config: CLIPVisionConfig, parameters: ParameterPath, projectionDim: Int? = nil) throws {
        self.config = config
        store = parameters.store
        let model = parameters / "vision_model", embeddings = model / "embeddings"
        let channels = config.hiddenSize
        classEmbedding = try embeddings.parameter("class_embedding", shape: [channels], initializer: .normal(std: 0.02))
        patchEmbedding = try Conv2d(
            embeddings / "patch_embedding", in: 3, out: channels, kernel: config.patchSize, stride: config.patchSize,
            bias: false)
        positionEmbedding = try Embedding(
            embeddings / "position_embedding", rows: config.numPositions, channels: channels, std: 0.02)
        preLayerNorm = try LayerNorm(model / "pre_layrnorm", channels: channels, epsilon: config.layerNormEps)
        encoder = try CLIPEncoder(model / "encoder", config.encoder, causal: false)
        postLayerNorm = try LayerNorm(model / "post_layernorm", channels: channels, epsilon: config.layerNormEps)
        visualProjection = try Linear(
            parameters / "visual_projection", in: channels, out: projectionDim ?? config.projectionDim, bias: false)
    }

    /// The projected image embeddings and the outputs of the transformer.
    ///
    /// - Parameter pixelValues: `[B, 3, S, S]` with S = `config.imageSize`, normalized as the model was trained.
    /// - Returns: the embeddings, `[B, P]`, and the outputs.
    public func outputs(_ pixelValues: Tensor) -> (imageEmbeds: Tensor, encoder: CLIPVisionOutput) {
        let size = config.imageSize
        precondition(
            pixelValues.rank == 4 && Array(pixelValues.shape.dropFirst()) == [3, size, size],
            "CLIP: pixel values \(pixelValues.shape), expected [B, 3, \(size), \(size)]")
        let hidden = encoder(preLayerNorm(embeddings(pixelValues)))
        let classToken = hidden.sliced(axis: 1, 0..<1).reshaped([hidden.shape[0], config.hiddenSize])
        let pooled = postLayerNorm(classToken)
        return (visualProjection(pooled), CLIPVisionOutput(lastHiddenState: hidden, poolerOutput: pooled))
    }

    /// `[B, T, D]`, the embeddings of class token and patches with those of their positions.
    private func embeddings(_ pixelValues: Tensor) -> Tensor {
        let batch = pixelValues.shape[0], channels = config.hiddenSize, count = config.numPositions
        let patches = patchEmbedding(pixelValues).reshaped([batch, channels, count - 1]).transposed(1, 2)
        let classToken = classEmbedding.tensor().reshaped([1, 1, channels]).expanded([batch, 1, channels])
        let positions = positionEmbedding((0..<count).map(Int32.init), shape: [1, count])
        return .concatenated([classToken, patches], axis: 1) + positions
    }
}
