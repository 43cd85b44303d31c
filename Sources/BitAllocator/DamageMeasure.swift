// SPDX-License-Identifier: Apache-2.0
// M in the paper's score S = M N^-eta, and what a solver minimises the sum of: which measures of a sensitivity table stand
// for the damage.

import Recipes

/// The damage that widths are chosen by. The paper's is `mse`; `noise` and `fisher` rank layers without making pictures, and
/// add up better: see Docs/Method.md.
public enum DamageMeasure: String, Codable, Sendable, CaseIterable {
    /// Mean squared error of the pictures.
    case mse
    /// Error of the noise prediction.
    case noise
    /// The predicted error of the noise prediction.
    case fisher
    /// Mean squared error and CLIP-score drop, half each: see `DamageFunction`.
    case mseAndClip = "mse+clip"

    /// What is chosen from where nothing is asked for. Not `mseAndClip`: CLIP-score drops over a few pictures are mostly
    /// noise.
    static let preferred: [DamageMeasure] = [.noise, .mse, .fisher]

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
        func measures(_ candidate: AllocationProblem.Candidate) -> [SensitivityMeasure] {
            widths.compactMap { candidate.measures[$0] }
        }
        func has(_ measure: SensitivityMeasure, _ damage: DamageMeasure) -> Bool {
            damage.metrics.allSatisfy { measure[$0] != nil }
        }
        let complete = Self.preferred.first { damage in
            candidates.allSatisfy { measures($0).allSatisfy { has($0, damage) } }
        }
        let partial = Self.preferred.first { damage in
            candidates.contains { measures($0).contains { has($0, damage) } }
        }
        self = complete ?? partial ?? .mse
    }
}

/// The damage of a measurement, in one number.
///
/// `mse+clip` adds two measures of different units, each over its mean in the table, so that both weigh the same:
///
///     damage = mse / mean(mse) + max(clipDrop, 0) / mean(max(clipDrop, 0))
///
/// A drop below 0, a score that went up, is no merit: over a few pictures it is noise.
struct DamageFunction {
    let measure: DamageMeasure
    private let meanError: Double
    private let meanDrop: Double

    init(_ measure: DamageMeasure, _ candidates: [AllocationProblem.Candidate]) {
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
    func callAsFunction(_ measurement: SensitivityMeasure) -> Double? {
        guard measure == .mseAndClip else { return measurement[measure.metrics[0]] }
        guard let error = measurement.mse, let drop = measurement.clipDrop else { return nil }
        // Where all are 0, none adds anything.
        return (meanError > 0 ? error / meanError : 0) + (meanDrop > 0 ? max(drop, 0) / meanDrop : 0)
    }
}
