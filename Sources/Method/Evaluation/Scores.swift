// SPDX-License-Identifier: Apache-2.0
// Scores of sets of images with their standard errors: means, differences between two models with their p-values, and
// the share of prompts that images satisfy.

import Foundation

/// The mean of a sample of n values, and its standard error.
public struct MeanEstimate: Hashable, Codable, Sendable {
    /// NaN for an empty sample.
    public let mean: Double
    /// s / √n with s² = Σ (x - mean)² / (n - 1); nil for fewer than two values.
    public let standardError: Double?
    /// n, the number of values.
    public let count: Int

    /// The estimate of a sample of independent values.
    public init(of values: some Collection<Double>) {
        let n = Double(values.count)
        let mean = values.reduce(0, +) / n
        count = values.count
        self.mean = mean
        guard count > 1 else {
            standardError = nil
            return
        }
        let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        standardError = (squares / (n - 1) / n).squareRoot()
    }

    /// The estimate of the mean difference between paired values.
    ///
    /// - Precondition: equal numbers of values.
    public init(of values: [Double], minus baseline: [Double]) {
        precondition(
            values.count == baseline.count, "paired values: \(values.count) and \(baseline.count)")
        self.init(of: zip(values, baseline).map { $0 - $1 })
    }

    /// The interval that contains the expected value with a probability of 95 %, mean ± 1.96 standard errors (normal
    /// distribution); nil for fewer than two values.
    public var confidenceInterval: ClosedRange<Double>? {
        standardError.map { mean - Self.quantile * $0...mean + Self.quantile * $0 }
    }

    /// The probability of a mean as far from 0 as this one if the expected value is 0 (two-sided test, normal
    /// distribution); nil for fewer than two values.
    public var pValue: Double? {
        guard let standardError else { return nil }
        guard standardError > 0 else { return mean == 0 ? 1 : 0 }
        return erfc(abs(mean) / standardError / 2.0.squareRoot())
    }

    /// The 97.5th percentile of the standard normal distribution, rounded.
    fileprivate static let quantile = 1.96
}

/// The p-values of several tests after Holm's correction (Holm 1979): the probability that one or more tests of true
/// null hypotheses have values below a bound is at most this bound.
///
///     adjusted_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))    for p_(1) <= ... <= p_(m)
///
/// - Parameter pValues: m values in 0...1.
/// - Returns: m values in 0...1, in the same order.
public func holmAdjusted(_ pValues: [Double]) -> [Double] {
    var adjusted = pValues
    var largest = 0.0
    for (rank, index) in pValues.indices.sorted(by: { pValues[$0] < pValues[$1] }).enumerated() {
        largest = max(largest, min(1, Double(pValues.count - rank) * pValues[index]))
        adjusted[index] = largest
    }
    return adjusted
}

/// The share of satisfied prompts as in GenEval (Ghosh et al. 2023, arXiv:2310.11513), per family and overall.
///
/// The overall score is the mean over F families, so that families have equal weights regardless of their sizes.
public struct CompositionalScore: Hashable, Codable, Sendable {
    /// The result of one family of n images.
    public struct Family: Hashable, Codable, Sendable {
        /// The name, such as GenEval's `color_attr`.
        public let name: String
        /// The number of images that satisfy their prompt.
        public let satisfied: Int
        /// n, the number of images.
        public let count: Int

        /// p = satisfied / n, 0...1.
        public var score: Double { Double(satisfied) / Double(count) }

        /// √(p (1 - p) / n), the standard error of the share among n independent images.
        public var standardError: Double { (score * (1 - score) / Double(count)).squareRoot() }
    }

    /// The families, in the order of their first image.
    public let families: [Family]

    /// - Parameter outcomes: the family of the prompt of each image, and whether the image satisfies the prompt.
    public init(_ outcomes: some Sequence<(family: String, isSatisfied: Bool)>) {
        var order: [String] = []
        var counts: [String: (satisfied: Int, count: Int)] = [:]
        for (name, isSatisfied) in outcomes {
            if counts[name] == nil { order.append(name) }
            let previous = counts[name] ?? (0, 0)
            counts[name] = (previous.satisfied + (isSatisfied ? 1 : 0), previous.count + 1)
        }
        families = order.compactMap { name in
            counts[name].map { Family(name: name, satisfied: $0.satisfied, count: $0.count) }
        }
    }

    /// 1/F Σ p_f; NaN without images.
    public var overall: Double {
        families.reduce(0) { $0 + $1.score } / Double(families.count)
    }

    /// The standard error of `overall`, 1/F √(Σ SE_f²), for independent families.
    public var overallStandardError: Double {
        families.reduce(0) { $0 + $1.standardError * $1.standardError }.squareRoot() / Double(families.count)
    }

    /// The number of images.
    public var count: Int { families.reduce(0) { $0 + $1.count } }
}

/// The scores of the images of one model, in the order of the prompts.
public struct ImageScores: Sendable {
    /// 1 for an image that satisfies its prompt, else 0.
    public let compositional: [Double]
    /// The cosine similarity of image and prompt; nil without a prompt scorer.
    public let clip: [Double]?

    /// - Precondition: `compositional` and `clip` are of the same images.
    public init(compositional: [Double], clip: [Double]?) {
        self.compositional = compositional
        self.clip = clip
    }
}

/// The mean differences between the scores of two models with the same prompts, seeds and initial noise.
///
/// Scores of two models vary together from image to image, so that the differences have smaller standard errors than
/// the scores.
public struct PairedDifference: Codable, Hashable, Sendable {
    /// The mean difference of compositional scores, positive if the first model is better.
    public let compositional: MeanEstimate
    /// The mean difference of CLIP scores; nil without a prompt scorer.
    public let clip: MeanEstimate?

    /// The estimate of `scores - baseline`.
    ///
    /// - Precondition: equal numbers of images, in the same order.
    public init(_ scores: ImageScores, against baseline: ImageScores) {
        precondition(
            scores.compositional.count == baseline.compositional.count
                && scores.clip?.count == baseline.clip?.count,
            "paired scores: \(scores.compositional.count) images and \(baseline.compositional.count)")
        compositional = MeanEstimate(of: scores.compositional, minus: baseline.compositional)
        if let clipScores = scores.clip, let baselineScores = baseline.clip {
            clip = MeanEstimate(of: clipScores, minus: baselineScores)
        } else {
            clip = nil
        }
    }

    /// Whether a difference is significant at the 5 % level (two-sided test, normal distribution).
    public static func isSignificant(_ difference: MeanEstimate) -> Bool {
        guard let error = difference.standardError else { return false }
        return abs(difference.mean) > MeanEstimate.quantile * error
    }
}
