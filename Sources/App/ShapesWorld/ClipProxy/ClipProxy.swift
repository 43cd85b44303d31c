// SPDX-License-Identifier: Apache-2.0
// A small CLIP (Radford et al. 2021, arXiv:2103.00020) for the shapes world: an image encoder and a text encoder with a
// common embedding space, in which images are close to their captions. Parameter names follow transformers' `CLIPModel`
// (models/clip/modeling_clip.py) where the parts correspond.
// N images, T tokens, D projection size, C channels, H W size.

import BitsFusion

/// Encodes images and captions as unit vectors.
///
/// It differs from CLIP in its convolutional image tower, and in its text embedding, which is the mean over all tokens.
public final class ClipProxy {
    /// The architecture.
    public let config: ClipProxyConfig
    /// All parameters, and all layers with a replaceable weight.
    public let store: ParameterStore
    /// The logarithm of the factor of cosines in the training loss, `[1]`. Scores do not use it.
    public let logitScale: Parameter

    private let vision: ClipProxyVision
    private let text: CLIPTextModel
    private let visualProjection, textProjection: Linear

    /// The number of images that are encoded at once without gradients, which bounds the memory of activations.
    private static let chunk = 64

    /// Builds the proxy from the parameters below `parameters` (the root of its state_dict).
    ///
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(config: ClipProxyConfig, parameters: ParameterPath) throws {
        self.config = config
        store = parameters.store
        vision = try ClipProxyVision(parameters / "vision_model", config)
        text = try CLIPTextModel(config: config.textConfig, parameters: parameters)
        visualProjection = try Linear(
            parameters / "visual_projection", in: config.featureChannels, out: config.projectionDim, bias: false
        )
        textProjection = try Linear(
            parameters / "text_projection", in: config.textConfig.hiddenSize, out: config.projectionDim, bias: false)
        logitScale = try parameters.parameter("logit_scale", shape: [1], initializer: .zeros)
    }

    /// The embeddings of images, differentiable.
    ///
    /// - Parameter images: `[N, 3, H, W]`, range [-1, 1].
    /// - Returns: `[N, D]`, unit vectors.
    public func imageEmbeddings(_ images: Tensor) -> Tensor {
        visualProjection(vision(images)).l2Normalized()
    }

    /// The embeddings of captions, differentiable: the projected mean over all tokens, padding included.
    ///
    /// - Parameters:
    ///   - ids: N·T token ids, caption after caption, padded to equal lengths.
    ///   - batch: N.
    /// - Returns: `[N, D]`, unit vectors.
    public func textEmbeddings(_ ids: [Int32], batch: Int) -> Tensor {
        textProjection(text(ids, batch: batch).mean(axes: [1])).l2Normalized()
    }

    /// The cosine similarity of each image and its caption.
    ///
    /// - Parameters:
    ///   - images: `[N, 3, H, W]`, range [-1, 1].
    ///   - ids: N·T token ids, caption after caption.
    /// - Returns: N values in -1...1.
    /// - Precondition: the number of ids is a multiple of N.
    public func score(_ images: Tensor, ids: [Int32]) -> [Float] {
        let count = images.shape[0]
        guard count > 0 else { return [] }
        precondition(ids.count % count == 0, "CLIP-proxy: \(ids.count) token ids for \(count) images")
        let length = ids.count / count
        return chunks(of: count).flatMap { range in
            withoutGradients {
                let captions = Array(ids[range.lowerBound * length..<range.upperBound * length])
                return
                    (imageEmbeddings(images.sliced(axis: 0, range))
                    * textEmbeddings(captions, batch: range.count)).sum(axes: [1]).values
            }
        }
    }

    /// The pooled image features before the projection, without gradients, for the Fréchet distance.
    ///
    /// - Parameter images: `[N, 3, H, W]`, range [-1, 1], N > 0.
    /// - Returns: `[N, featureChannels]`.
    public func imageFeatures(_ images: Tensor) -> Tensor {
        let parts = chunks(of: images.shape[0]).map { range in
            withoutGradients { vision(images.sliced(axis: 0, range)) }
        }
        return parts.count == 1 ? parts[0] : Tensor.concatenated(parts, axis: 0)
    }

    /// The last map of the image tower at each resolution, finest first, without gradients, for perceptual distances.
    ///
    /// - Parameter images: `[N, 3, H, W]`, range [-1, 1]. The activations of all images are in memory at once.
    /// - Returns: `[N, C, H', W']` each.
    public func imageFeatureMaps(_ images: Tensor) -> [Tensor] {
        withoutGradients { vision.featureMaps(images) }
    }

    /// The ranges of images that are encoded at once.
    func chunks(of count: Int) -> [Range<Int>] {
        stride(from: 0, to: count, by: Self.chunk).map { $0..<min($0 + Self.chunk, count) }
    }
}

/// The image tower: 3x3 convolutions with group normalization and SiLU, then the mean over pixels.
///
/// Its keys are `blocks.N.conv` and `blocks.N.norm`.
private final class ClipProxyVision {
    private let blocks: [(conv: Conv2d, norm: GroupNorm)]
    private let config: ClipProxyConfig

    /// Builds the blocks from the parameters below `parameters`.
    init(_ parameters: ParameterPath, _ config: ClipProxyConfig) throws {
        self.config = config
        let inputs = [3] + config.visionChannels.dropLast()
        blocks = try config.visionChannels.indices.map { index in
            let block = parameters / "blocks" / index
            let channels = config.visionChannels[index]
            return (
                try Conv2d(
                    block / "conv", in: inputs[index], out: channels, kernel: 3,
                    stride: config.visionStrides[index], padding: Padding(1)),
                try GroupNorm(
                    block / "norm", channels: channels, groups: config.normNumGroups, epsilon: 1e-5,
                    activation: .silu)
            )
        }
    }

    /// `images` `[N, 3, H, W]` -> the last map of each resolution, `[N, C, H/2^i, W/2^i]`, finest first.
    func featureMaps(_ images: Tensor) -> [Tensor] {
        precondition(
            images.rank == 4 && images.shape[1] == 3, "CLIP-proxy: images \(images.shape) are not [N, 3, H, W]")
        var maps: [Tensor] = []
        var hidden = images
        for (index, block) in blocks.enumerated() {
            if config.visionStrides[index] > 1, index > 0 { maps.append(hidden) }
            hidden = block.norm(block.conv(hidden))
        }
        return maps + [hidden]
    }

    /// `images` `[N, 3, H, W]` -> `[N, C]`, the mean of the last map over its pixels.
    func callAsFunction(_ images: Tensor) -> Tensor {
        let maps = featureMaps(images)
        return maps[maps.count - 1].mean(axes: [2, 3])
    }
}
