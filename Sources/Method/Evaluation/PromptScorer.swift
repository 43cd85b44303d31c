// SPDX-License-Identifier: Apache-2.0
// The protocols of CLIP-like models, which score images against prompts, and compare images by their features.
// K images, H W size.

import Tensors

/// Scores images against prompts.
public protocol PromptScorer {
    /// Checks that all of `prompts` can be scored.
    ///
    /// - Throws: the tokenizer's error for text that it cannot represent.
    func validate(prompts: [String]) throws

    /// The cosine similarity of each image and its prompt.
    ///
    /// - Parameters:
    ///   - images: `[K, 3, H, W]`, range [-1, 1].
    ///   - prompts: K prompts.
    /// - Returns: K values in -1...1.
    /// - Throws: as `validate(prompts:)`.
    func scores(of images: Tensor, prompts: [String]) throws -> [Double]
}

/// Compares images with reference images.
public protocol PerceptualEncoder {
    /// Encodes reference images once, for perceptual distances to them.
    ///
    /// - Parameter images: `[K, 3, H, W]`, range [-1, 1].
    /// - Returns: the encoded images.
    func perceptualReference(_ images: Tensor) -> any PerceptualDistance
}

/// Perceptual distances to fixed reference images, in the manner of LPIPS (Zhang et al. 2018, arXiv:1801.03924).
public protocol PerceptualDistance {
    /// The distance of each image to its reference image.
    ///
    /// - Parameter images: the shape and range of the reference images.
    /// - Returns: K values, 0 for identical images.
    func distances(_ images: Tensor) -> [Double]
}
