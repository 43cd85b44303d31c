// SPDX-License-Identifier: Apache-2.0
// CLIP (Radford et al. 2021, arXiv:2103.00020): images and texts as vectors of one space. Parameter names and
// computation match transformers' `CLIPModel` (models/clip/modeling_clip.py).
// B batch, T tokens, S image size, P projection size.

import Layers
import Tensors

/// A text model and a vision model with projections to a common space.
public final class CLIPModel {
    public let config: CLIPConfig
    public let textModel: CLIPTextModelWithProjection
    public let visionModel: CLIPVisionModelWithProjection
    /// The logarithm of the factor of cosines in the training loss, a scalar. Scores do not use it.
    public let logitScale: Parameter

    /// All parameters, and all layers with a replaceable weight.
    public var store: ParameterStore { textModel.store }

    /// Builds the model from the parameters below `parameters` (the root of its state_dict).
    ///
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(config: CLIPConfig, parameters: ParameterPath) throws {
        self.config = config
        textModel = try CLIPTextModelWithProjection(
            config: config.textConfig, parameters: parameters, projectionDim: config.projectionDim)
        visionModel = try CLIPVisionModelWithProjection(
            config: config.visionConfig, parameters: parameters, projectionDim: config.projectionDim)
        logitScale = try parameters.parameter("logit_scale", shape: [], initializer: .zeros)
    }

    /// transformers' `get_image_features`.
    ///
    /// - Parameter pixelValues: `[B, 3, S, S]`, normalized as the model was trained.
    /// - Returns: `[B, P]`, vectors of any length.
    public func imageFeatures(_ pixelValues: Tensor) -> Tensor { visionModel.outputs(pixelValues).imageEmbeds }

    /// transformers' `get_text_features`.
    ///
    /// - Parameters:
    ///   - ids: B·T token ids, text after text, each in `0 ..< vocabSize`.
    ///   - batch: B; divides the number of ids. T is at most `maxPositionEmbeddings`.
    /// - Returns: `[B, P]`, vectors of any length.
    public func textFeatures(_ ids: [Int32], batch: Int) -> Tensor { textModel.outputs(ids, batch: batch).textEmbeds }

    /// transformers' `image_embeds`: `imageFeatures` as unit vectors, `[B, P]`.
    public func imageEmbeds(_ pixelValues: Tensor) -> Tensor { imageFeatures(pixelValues).l2Normalized() }

    /// transformers' `text_embeds`: `textFeatures` as unit vectors, `[B, P]`.
    public func textEmbeds(_ ids: [Int32], batch: Int) -> Tensor { textFeatures(ids, batch: batch).l2Normalized() }
}
