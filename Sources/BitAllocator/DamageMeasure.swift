// SPDX-License-Identifier: Apache-2.0
// M in the paper's score S = M N^-eta: which measure of a sensitivity table stands for the damage.

import Recipes

/// The measure that widths are chosen by. The paper's is `mse`; the other two rank layers without making pictures.
public enum DamageMeasure: String, Codable, Sendable, CaseIterable {
    /// Mean squared error of the pictures.
    case mse
    /// Error of the noise prediction.
    case noise
    /// The predicted error of the noise prediction.
    case fisher

    /// The measure by its name in the table.
    public var metric: SensitivityMetric {
        switch self {
        case .mse: .mse
        case .noise: .noise
        case .fisher: .fisher
        }
    }

    /// The first of `mse`, `noise` and `fisher` that every candidate has wherever it was measured at one of `widths`;
    /// where none is that complete, the first that any has, so that the gap can be named; `mse` for no measurement.
    init(availableIn candidates: [AllocationProblem.Candidate], widths: [BitWidth]) {
        func measures(_ candidate: AllocationProblem.Candidate) -> [SensitivityMeasure] {
            widths.compactMap { candidate.measures[$0] }
        }
        let complete = Self.allCases.first { damage in
            candidates.allSatisfy { measures($0).allSatisfy { $0[damage.metric] != nil } }
        }
        let partial = Self.allCases.first { damage in
            candidates.contains { measures($0).contains { $0[damage.metric] != nil } }
        }
        self = complete ?? partial ?? .mse
    }
}
