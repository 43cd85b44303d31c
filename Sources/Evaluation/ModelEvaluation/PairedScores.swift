// SPDX-License-Identifier: Apache-2.0
// Two models on the same prompts, seeds and noise, picture by picture: most of what makes scores scatter is the same for
// both, and drops out of the differences. N pictures.

import Tensors

/// What each picture of one model scores, in the order of the prompts.
public struct PictureScores: Sendable {
    /// 1 where the picture satisfies its prompt, else 0.
    public let compositional: [Double]
    /// Cosine between picture and prompt; nil without a CLIP-proxy.
    public let clip: [Double]?
}

/// How far one model's scores are from another's on the same pictures.
public struct PairedDifference: Codable, Hashable, Sendable {
    /// Mean difference of the compositional score, positive where the first model is better.
    public let compositional: MeanEstimate
    /// The same of the CLIP score; nil without a CLIP-proxy.
    public let clip: MeanEstimate?

    /// `scores` less `baseline`, picture by picture.
    ///
    /// - Precondition: scores of the same pictures.
    public init(_ scores: PictureScores, against baseline: PictureScores) {
        precondition(
            scores.compositional.count == baseline.compositional.count
                && scores.clip?.count == baseline.clip?.count,
            "paired scores: \(scores.compositional.count) pictures against \(baseline.compositional.count)")
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

extension ModelEvaluator {
    /// What each of the suite's pictures scores.
    ///
    /// - Parameter pictures: `[N, 3, 32, 32]` in the order of `suite.prompts`.
    /// - Returns: N scores of each kind.
    public func pictureScores(_ pictures: Tensor) -> PictureScores {
        PictureScores(
            compositional: satisfied(pictures).map { $0 ? 1 : 0 }, clip: clipScores(pictures))
    }
}
