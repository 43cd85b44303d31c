// SPDX-License-Identifier: Apache-2.0
// The stand-in for LPIPS (Zhang et al. 2018, arXiv:1801.03924), on the CLIP-proxy's maps and, unlike LPIPS, with all
// channels weighted alike, since nobody judged pictures of shapes. N pictures, L maps, C channels, H W space.

import Tensors

extension ClipProxy {
    /// How different pictures look from reference pictures:
    ///
    ///     d_n = Σ_l 1/(H_l W_l) Σ_hw ‖ u_nlhw - v_nlhw ‖²
    ///
    /// where u and v are the maps of picture and reference with the C channels of every pixel scaled to length 1.
    ///
    /// - Parameters:
    ///   - images: `[N, 3, H, W]`, range [-1, 1].
    ///   - reference: the same shape and range.
    /// - Returns: N values in 0...4L, 0 for identical pictures.
    /// - Precondition: equal shapes.
    public func perceptualDistances(_ images: Tensor, reference: Tensor) -> [Double] {
        precondition(
            images.shape == reference.shape,
            "perceptualDistances: images \(images.shape) against reference \(reference.shape)")
        return chunks(of: images.shape[0]).flatMap { range in
            withoutGradients { () -> [Double] in
                let maps = imageFeatureMaps(images.sliced(axis: 0, range))
                let references = imageFeatureMaps(reference.sliced(axis: 0, range))
                var total = Tensor.zeros([range.count])
                for (map, reference) in zip(maps, references) {
                    let difference = unitPixels(map) - unitPixels(reference)
                    total = total + difference.square().sum(axes: [1]).mean(axes: [1, 2])
                }
                return total.values.map(Double.init)
            }
        }
    }
}

/// `map` `[N, C, H, W]` with the channels of every pixel scaled to length 1; all-zero pixels stay 0.
private func unitPixels(_ map: Tensor) -> Tensor {
    map / (map.square().sum(axes: [1], keepDims: true) + 1e-10).sqrt()
}
