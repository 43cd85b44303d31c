// SPDX-License-Identifier: Apache-2.0
// The stand-in for LPIPS (Zhang et al. 2018, arXiv:1801.03924), on the CLIP-proxy's maps and, unlike LPIPS, with all
// channels weighted alike, since nobody judged images of shapes. N images, L maps, C channels, H W space.

import BitsFusion

/// Reference images as an image encoder sees them, to compare any number of sets of images with.
///
///     d_n = Σ_l 1/(H_l W_l) Σ_hw ‖ u_nlhw - v_nlhw ‖²
///
/// where u and v are the maps of image and reference with the C channels of every pixel scaled to length 1; maps are
/// weighted alike, those of L resolutions summed as in LPIPS.
public struct PerceptualReference: PerceptualDistance {
    private let proxy: ClipProxy
    /// `[N, 3, H, W]`.
    private let shape: [Int]
    /// v, for each range of images that are encoded at once: L maps `[n, C, H', W']`.
    private let maps: [(range: Range<Int>, units: [Tensor])]

    /// Encodes the reference images once.
    ///
    /// - Parameters:
    ///   - images: `[N, 3, H, W]`, range [-1, 1]. Their maps are kept.
    ///   - proxy: whose image tower looks at them.
    public init(_ images: Tensor, proxy: ClipProxy) {
        self.proxy = proxy
        shape = images.shape
        maps = proxy.chunks(of: images.shape[0]).map { range in
            (range, Self.units(of: images.sliced(axis: 0, range), proxy))
        }
    }

    /// How different images look from the reference images.
    ///
    /// - Parameter images: the reference's shape and range.
    /// - Returns: N values in 0...4L, 0 for identical images; the same where the two are exchanged.
    /// - Precondition: equal shapes.
    public func distances(_ images: Tensor) -> [Double] {
        precondition(
            images.shape == shape,
            "perceptual distance: images \(images.shape) against reference \(shape)")
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

    /// The maps of `images` with the channels of every pixel scaled to length 1; all-zero pixels stay 0.
    private static func units(of images: Tensor, _ proxy: ClipProxy) -> [Tensor] {
        withoutGradients {
            proxy.imageFeatureMaps(images).map { map in
                map / (map.square().sum(axes: [1], keepDims: true) + 1e-10).sqrt()
            }
        }
    }
}

extension ClipProxy {
    /// How different images look from reference images, see `PerceptualReference`.
    ///
    /// - Parameters:
    ///   - images: `[N, 3, H, W]`, range [-1, 1].
    ///   - reference: the same shape and range.
    /// - Returns: N values in 0...4L, 0 for identical images.
    /// - Precondition: equal shapes.
    public func perceptualDistances(_ images: Tensor, reference: Tensor) -> [Double] {
        precondition(
            images.shape == reference.shape,
            "perceptualDistances: images \(images.shape) against reference \(reference.shape)")
        // A few images at a time: nobody needs the maps of the whole reference here.
        return chunks(of: images.shape[0]).flatMap { range in
            PerceptualReference(reference.sliced(axis: 0, range), proxy: self)
                .distances(images.sliced(axis: 0, range))
        }
    }
}
