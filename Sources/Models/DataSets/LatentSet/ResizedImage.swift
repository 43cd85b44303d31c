// SPDX-License-Identifier: Apache-2.0
// Resize and center crop of training images to the size of their bucket.

import Images

/// A training image with the conditions that Stable Diffusion XL takes (arXiv:2307.01952, section 2.2).
struct ResizedImage {
    let image: RGBImage
    /// [original height, original width, crop top, crop left, target height, target width] in pixels.
    let timeIDs: [Float]

    /// Resizes `original` with torchvision's bilinear filter so that it covers `size` along both axes, and crops the
    /// center.
    init(_ original: RGBImage, size: BucketSize) {
        // The side that would be too short decides the scale; the other one is rounded down, but not below the size.
        let isWide = original.width * size.height >= original.height * size.width
        let covering =
            isWide
            ? BucketSize(height: size.height, width: max(original.width * size.height / original.height, size.width))
            : BucketSize(height: max(original.height * size.width / original.width, size.height), width: size.width)
        let resized = original.resized(width: covering.width, height: covering.height, filter: .bilinear)
        let origin = resized.centerCropOrigin(width: size.width, height: size.height)
        image = resized.cropped(x: origin.x, y: origin.y, width: size.width, height: size.height)
        timeIDs = [
            Float(original.height), Float(original.width), Float(origin.y), Float(origin.x), Float(size.height),
            Float(size.width),
        ]
    }
}
