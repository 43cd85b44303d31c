// SPDX-License-Identifier: Apache-2.0
// The stand-in for CLIP (Radford et al. 2021, arXiv:2103.00020) on the shapes world: an image tower and a text tower
// that end in one space, where an image lies near its caption. Keys follow transformers' CLIPModel where the parts
// correspond. N images, T tokens, D embedding width.

import BitsFusion

/// A two-tower encoder of images and captions.
public final class ClipProxy {
    /// The architecture.
    public let config: ClipProxyConfig
    /// Every parameter and every layer with an exchangeable weight.
    public let store: ParameterStore
    /// ln of what cosines are multiplied with in the training loss, `[1]`; scores do not use it.
    public let logitScale: Parameter

    private let vision: ClipProxyVision
    private let text: CLIPTextModel
    private let visualProjection, textProjection: Linear

    /// Images that are encoded at once when no gradient is wanted: bounds the memory of their activations.
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

    /// The points that images lie at, differentiable.
    ///
    /// - Parameter images: `[N, 3, H, W]`, range [-1, 1].
    /// - Returns: `[N, D]`, rows of length 1.
    public func imageEmbeddings(_ images: Tensor) -> Tensor {
        visualProjection(vision(images)).l2Normalized()
    }

    /// The points that captions lie at, differentiable: the mean over all token positions, padding included,
    /// projected.
    ///
    /// - Parameters:
    ///   - ids: N·T token ids, caption after caption, each padded to the same length.
    ///   - batch: N.
    /// - Returns: `[N, D]`, rows of length 1.
    public func textEmbeddings(_ ids: [Int32], batch: Int) -> Tensor {
        textProjection(text(ids, batch: batch).mean(axes: [1])).l2Normalized()
    }

    /// How well each image fits its caption: the cosine between the two, -1...1.
    ///
    /// - Parameters:
    ///   - images: `[N, 3, H, W]`, range [-1, 1].
    ///   - ids: N·T token ids, caption after caption.
    /// - Returns: N cosines.
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

    /// The pooled image features before the projection, whose distribution the Fréchet distance compares.
    ///
    /// - Parameter images: `[N, 3, H, W]`, range [-1, 1], N > 0.
    /// - Returns: `[N, featureChannels]`.
    public func imageFeatures(_ images: Tensor) -> Tensor {
        let parts = chunks(of: images.shape[0]).map { range in
            withoutGradients { vision(images.sliced(axis: 0, range)) }
        }
        return parts.count == 1 ? parts[0] : Tensor.concatenated(parts, axis: 0)
    }

    /// The image tower's maps, one per resolution, finest first: for distances that see where images differ.
    ///
    /// - Parameter images: `[N, 3, H, W]`, range [-1, 1]; a few dozen at a time.
    /// - Returns: `[N, C, H', W']` each.
    public func imageFeatureMaps(_ images: Tensor) -> [Tensor] {
        withoutGradients { vision.featureMaps(images) }
    }

    /// The ranges of images that are encoded at once.
    func chunks(of count: Int) -> [Range<Int>] {
        stride(from: 0, to: count, by: Self.chunk).map { $0..<min($0 + Self.chunk, count) }
    }
}
