// SPDX-License-Identifier: Apache-2.0
// M in the paper's score S = M N^-eta, and what a solver minimises the sum of: which measures of a sensitivity table stand
// for the sensitivity.

import Recipes

/// The sensitivity that widths are chosen by. The paper's is `mse`; `noise` and `fisher` rank layers without making images, and
/// add up better: see Docs/Method.md.
public enum AllocationMetric: String, Codable, Sendable, CaseIterable {
    /// Mean squared error of the images.
    case mse
    /// Error of the noise prediction.
    case noise
    /// The predicted error of the noise prediction.
    case fisher
    /// Mean squared error and CLIP-score drop, half each: see `SensitivityFunction`.
    case mseAndClip = "mse+clip"

    /// What is chosen from where nothing is asked for. Not `mseAndClip`: CLIP-score drops over a few images are mostly
    /// noise.
    static let preferred: [AllocationMetric] = [.noise, .mse, .fisher]

    /// The measures that it is made of, by their names in the table.
    public var metrics: [SensitivityMetric] {
        switch self {
        case .mse: [.mse]
        case .noise: [.noise]
        case .fisher: [.fisher]
        case .mseAndClip: [.mse, .clipDrop]
        }
    }

    /// The first of `preferred` that every candidate has wherever it was measured at one of `widths`; where none is that
    /// complete, the first that any has, so that the gap can be named; `mse` for no measurement.
    init(availableIn candidates: [AllocationProblem.Candidate], widths: [BitWidth]) {
        func measures(_ candidate: AllocationProblem.Candidate) -> [SensitivityScores] {
            widths.compactMap { candidate.measures[$0] }
        }
        func has(_ measure: SensitivityScores, _ sensitivity: AllocationMetric) -> Bool {
            sensitivity.metrics.allSatisfy { measure[$0] != nil }
        }
        let complete = Self.preferred.first { sensitivity in
            candidates.allSatisfy { measures($0).allSatisfy { has($0, sensitivity) } }
        }
        let partial = Self.preferred.first { sensitivity in
            candidates.contains { measures($0).contains { has($0, sensitivity) } }
        }
        self = complete ?? partial ?? .mse
    }
}

/// The sensitivity of a measurement, in one number.
///
/// `mse+clip` adds two measures of different units, each over its mean in the table, so that both weigh the same:
///
///     sensitivity = mse / mean(mse) + max(clipDrop, 0) / mean(max(clipDrop, 0))
///
/// A drop below 0, a score that went up, is no merit: over a few images it is noise.
struct SensitivityFunction {
    let measure: AllocationMetric
    private let meanError: Double
    private let meanDrop: Double

    init(_ measure: AllocationMetric, _ candidates: [AllocationProblem.Candidate]) {
        self.measure = measure
        let measures = candidates.flatMap { candidate in
            candidate.measures.sorted { $0.key < $1.key }.map(\.value)
        }
        func mean(_ values: [Double]) -> Double {
            values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count)
        }
        meanError = mean(measures.compactMap(\.mse))
        meanDrop = mean(measures.compactMap { $0.clipDrop.map { max($0, 0) } })
    }

    /// Whether the means are numbers.
    var isFinite: Bool { meanError.isFinite && meanDrop.isFinite }

    /// nil where the table lacks a measure that it takes.
    func callAsFunction(_ measurement: SensitivityScores) -> Double? {
        guard measure == .mseAndClip else { return measurement[measure.metrics[0]] }
        guard let error = measurement.mse, let drop = measurement.clipDrop else { return nil }
        // Where all are 0, none adds anything.
        return (meanError > 0 ? error / meanError : 0) + (meanDrop > 0 ? max(drop, 0) / meanDrop : 0)
    }
}
