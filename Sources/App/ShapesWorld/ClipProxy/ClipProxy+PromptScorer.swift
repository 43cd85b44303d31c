// SPDX-License-Identifier: Apache-2.0
// The CLIP-proxy as the prompt scorer of analyses and evaluations: cosine similarities and perceptual distances.
// N images, L maps, C channels, H W size.

import BitsFusion

extension ClipProxy: PromptScorer, PerceptualEncoder {
    /// - Throws: `TokenizerError.vocabulary` for a proxy with another number of token ids; `CaptionError` for unknown
    ///   words.
    public func validate(prompts: [String]) throws { _ = try ids(of: prompts) }

    /// - Throws: as `validate(prompts:)`.
    public func scores(of images: Tensor, prompts: [String]) throws -> [Double] {
        score(images, ids: try ids(of: prompts)).map(Double.init)
    }

    public func perceptualReference(_ images: Tensor) -> any PerceptualDistance {
        PerceptualReference(images, proxy: self)
    }

    private func ids(of prompts: [String]) throws -> [Int32] {
        guard config.textConfig.vocabSize == ShapesTokenizer.vocabularySize else {
            throw TokenizerError.vocabulary(
                name: ShapesTokenizer.name, expected: ShapesTokenizer.vocabularySize,
                found: config.textConfig.vocabSize)
        }
        let tokenizer = ShapesTokenizer(length: config.textConfig.maxPositionEmbeddings)
        return try prompts.flatMap { try tokenizer.encode($0) }
    }
}

/// The feature maps of reference images, for perceptual distances to any number of sets of images.
///
///     d_n = Σ_l 1/(H_l W_l) Σ_hw ‖ u_nlhw - v_nlhw ‖²
///
/// u and v are the maps of image and reference at L resolutions, with the C channels of each pixel scaled to length 1.
/// Unlike LPIPS (Zhang et al. 2018, arXiv:1801.03924), channels have equal weights instead of learned ones.
public struct PerceptualReference: PerceptualDistance {
    private let proxy: ClipProxy
    /// `[N, 3, H, W]`.
    private let shape: [Int]
    /// v for each range of n images that are encoded at once: L maps `[n, C, H', W']`.
    private let maps: [(range: Range<Int>, units: [Tensor])]

    /// Encodes the reference images and stores their maps.
    ///
    /// - Parameters:
    ///   - images: `[N, 3, H, W]`, range [-1, 1].
    ///   - proxy: the encoder.
    public init(_ images: Tensor, proxy: ClipProxy) {
        self.proxy = proxy
        shape = images.shape
        maps = proxy.chunks(of: images.shape[0]).map { range in
            (range, Self.units(of: images.sliced(axis: 0, range), proxy))
        }
    }

    /// The perceptual distance of each image to its reference image. It is symmetric.
    ///
    /// - Parameter images: the shape and range of the reference images.
    /// - Returns: N values in 0...4L, 0 for identical images.
    /// - Precondition: equal shapes.
    public func distances(_ images: Tensor) -> [Double] {
        precondition(
            images.shape == shape,
            "perceptual distance: images \(images.shape), reference \(shape)")
        return maps.flatMap { range, references in
            withoutGradients { () -> [Double] in
                let units = Self.units(of: images.sliced(axis: 0, range), proxy)
                var total = Tensor.zeros([range.count])
                for (unit, reference) in zip(units, references) {
                    total = total + (unit - reference).square().sum(axes: [1]).mean(axes: [1, 2])
                }
                return total.values.map(Double.init)
            }
        }
    }

    /// The maps of `images` with the channels of each pixel scaled to length 1. Pixels of zeros stay 0.
    private static func units(of images: Tensor, _ proxy: ClipProxy) -> [Tensor] {
        withoutGradients {
            proxy.imageFeatureMaps(images).map { map in
                map / (map.square().sum(axes: [1], keepDims: true) + 1e-10).sqrt()
            }
        }
    }
}
