// SPDX-License-Identifier: Apache-2.0
// A CLIP model as the prompt scorer of analyses. K images, H W size.

import Evaluation
import Images
import Pipelines
import Tensors

extension ImageTextEncoder: PromptScorer {
    /// - Throws: `TokenizerError.unrepresentable`.
    public func validate(prompts: [String]) throws { _ = try prompts.map(isTruncated) }

    /// The cosines, a hundredth of the CLIP scores. Images are rounded to 8 bits.
    ///
    /// - Throws: as `validate(prompts:)`.
    public func scores(of images: Tensor, prompts: [String]) throws -> [Double] {
        let (values, size) = (images.values, images.count / max(images.shape[0], 1))
        let pixels = (0..<images.shape[0]).map { index in
            RGBImage(
                width: images.shape[3], height: images.shape[2], modelRange: values[index * size..<(index + 1) * size])
        }
        return clipScores(imageFeatures: imageFeatures(pixels), textFeatures: try textFeatures(prompts))
            .map { $0 / 100 }
    }
}
