// SPDX-License-Identifier: Apache-2.0
// The CLIP score (Hessel et al. 2021, arXiv:2104.08718), as torchmetrics computes it
// (functional/multimodal/clip_score.py, 1.9). K pairs of an image and a text, P projection size.

import Tensors

/// The CLIP score of each image and its text, 100 times the cosine of their features:
///
///     score_k = 100 ⟨u_k, v_k⟩ / (‖u_k‖ ‖v_k‖)
///
/// - Parameters:
///   - imageFeatures: u, `[K, P]`, of any length.
///   - textFeatures: v, `[K, P]`, of any length.
/// - Returns: K values in -100...100; NaN for features of length 0.
/// - Precondition: equal shapes.
public func clipScores(imageFeatures: Tensor, textFeatures: Tensor) -> [Double] {
    precondition(
        imageFeatures.rank == 2 && imageFeatures.shape == textFeatures.shape,
        "clipScores: image features \(imageFeatures.shape), text features \(textFeatures.shape)")
    let dimension = imageFeatures.shape[1]
    return imageFeatures.withUnsafeBufferPointer { images in
        textFeatures.withUnsafeBufferPointer { texts in
            stride(from: 0, to: images.count, by: max(dimension, 1)).map { start in
                var (product, image, text) = (0.0, 0.0, 0.0)
                for index in start..<start + dimension {
                    let (u, v) = (Double(images[index]), Double(texts[index]))
                    product += u * v
                    image += u * u
                    text += v * v
                }
                return 100 * product / (image * text).squareRoot()
            }
        }
    }
}

/// The CLIP score of a set of images: max(mean of the scores, 0).
///
/// - Parameter scores: the result of `clipScores(imageFeatures:textFeatures:)`.
/// - Returns: a value in 0...100; NaN for an empty set.
public func clipScore(_ scores: [Double]) -> Double {
    let mean = MeanEstimate(of: scores).mean
    return mean < 0 ? 0 : mean
}
