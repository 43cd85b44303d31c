// SPDX-License-Identifier: Apache-2.0
// M in the paper's sensitivity S = M N^-eta, and the quantization error that the exact solver minimizes the sum of:
// which scores of a sensitivity table they are made of.

import Recipes

/// The metric by which layers are compared. The paper's is `mse`. `noise` and `fisher` need no images, and their sums
/// predict the error of a whole recipe better; see Docs/Method.md.
public enum AllocationMetric: String, Codable, Sendable, CaseIterable {
    /// Mean squared error of the images.
    case mse
    /// Error of the noise prediction.
    case noise
    /// Error of the noise prediction, predicted from gradients.
    case fisher
    /// Mean squared error and CLIP-score drop with equal weights: see `ErrorFunction`.
    case mseAndClip = "mse+clip"

    /// The candidates for the default. Without `mseAndClip`: CLIP-score drops over a few images are mostly noise.
    static let preferred: [AllocationMetric] = [.noise, .mse, .fisher]

    /// The scores that it is made of, by their names in the table.
    public var metrics: [SensitivityMetric] {
        switch self {
        case .mse: [.mse]
        case .noise: [.noise]
        case .fisher: [.fisher]
        case .mseAndClip: [.mse, .clipDrop]
        }
    }

    /// The first of `preferred` for which all measurements of all candidates at one of `bits` have a score. If there
    /// is none, the first that any measurement has, so that an error can name the missing score; `mse` without
    /// measurements.
    init(availableIn candidates: [AllocationProblem.Candidate], bits: [BitWidth]) {
        func measurements(_ candidate: AllocationProblem.Candidate) -> [SensitivityScores] {
            bits.compactMap { candidate.scores[$0] }
        }
        func has(_ scores: SensitivityScores, _ metric: AllocationMetric) -> Bool {
            metric.metrics.allSatisfy { scores[$0] != nil }
        }
        let complete = Self.preferred.first { metric in
            candidates.allSatisfy { measurements($0).allSatisfy { has($0, metric) } }
        }
        let partial = Self.preferred.first { metric in
            candidates.contains { measurements($0).contains { has($0, metric) } }
        }
        self = complete ?? partial ?? .mse
    }
}

/// The quantization error of one measurement by an allocation metric.
///
/// `mse+clip` adds two scores of different units, each divided by its mean over the table:
///
///     error = mse / mean(mse) + max(clipDrop, 0) / mean(max(clipDrop, 0))
///
/// Negative drops are clamped to 0: with few images they are noise.
struct ErrorFunction {
    let metric: AllocationMetric
    private let meanSquaredError: Double
    private let meanDrop: Double

    init(_ metric: AllocationMetric, _ candidates: [AllocationProblem.Candidate]) {
        self.metric = metric
        let measurements = candidates.flatMap { candidate in
            candidate.scores.sorted { $0.key < $1.key }.map(\.value)
        }
        func mean(_ values: [Double]) -> Double {
            values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count)
        }
        meanSquaredError = mean(measurements.compactMap(\.mse))
        meanDrop = mean(measurements.compactMap { $0.clipDrop.map { max($0, 0) } })
    }

    /// Whether both means are finite.
    var isFinite: Bool { meanSquaredError.isFinite && meanDrop.isFinite }

    /// The error; nil if a score is missing.
    func callAsFunction(_ scores: SensitivityScores) -> Double? {
        guard metric == .mseAndClip else { return scores[metric.metrics[0]] }
        guard let error = scores.mse, let drop = scores.clipDrop else { return nil }
        // A mean of 0 means that all scores are 0.
        return (meanSquaredError > 0 ? error / meanSquaredError : 0) + (meanDrop > 0 ? max(drop, 0) / meanDrop : 0)
    }
}
