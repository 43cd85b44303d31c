// SPDX-License-Identifier: Apache-2.0
// Two models on the same prompts, seeds and noise, image by image: most of what makes scores scatter is the same for
// both, and drops out of the differences. N images.

import Tensors

/// What each image of one model scores, in the order of the prompts.
public struct ImageScores: Sendable {
    /// 1 where the image satisfies its prompt, else 0.
    public let compositional: [Double]
    /// Cosine between image and prompt; nil without a CLIP-proxy.
    public let clip: [Double]?

    /// Scores of the same images in the same order.
    public init(compositional: [Double], clip: [Double]?) {
        self.compositional = compositional
        self.clip = clip
    }
}

/// How far one model's scores are from another's on the same images.
public struct PairedDifference: Codable, Hashable, Sendable {
    /// Mean difference of the compositional score, positive where the first model is better.
    public let compositional: MeanEstimate
    /// The same of the CLIP score; nil without a CLIP-proxy.
    public let clip: MeanEstimate?

    /// `scores` less `baseline`, image by image.
    ///
    /// - Precondition: scores of the same images.
    public init(_ scores: ImageScores, against baseline: ImageScores) {
        precondition(
            scores.compositional.count == baseline.compositional.count
                && scores.clip?.count == baseline.clip?.count,
            "paired scores: \(scores.compositional.count) images against \(baseline.compositional.count)")
        compositional = MeanEstimate(of: zip(scores.compositional, baseline.compositional).map { $0 - $1 })
        if let mine = scores.clip, let other = baseline.clip {
            clip = MeanEstimate(of: zip(mine, other).map { $0 - $1 })
        } else {
            clip = nil
        }
    }

    /// Whether a difference as large as this would come by chance once in twenty times at most (two-sided, by the normal
    /// distribution).
    public static func isSignificant(_ difference: MeanEstimate) -> Bool {
        guard let error = difference.standardError else { return false }
        return abs(difference.mean) > 1.96 * error
    }
}
