// SPDX-License-Identifier: Apache-2.0
// The results of one case: a row of the table, of the Markdown and of the JSON.

/// The PyTorch part of a row.
struct TwinRecord: Codable {
    let type: TwinType
    let record: SideRecord
    let difference: ResultDifference
    let tolerance: Double
    /// Our median time divided by PyTorch's.
    let ratio: Double
    let target: Double?

    /// Whether the results agree.
    var agrees: Bool { difference.largest <= tolerance }
    /// Whether the ratio meets the target; nil without a target.
    var isOnTarget: Bool? { target.map { ratio <= $0 } }
}

/// The algorithm that the library selects, compared with the alternatives.
struct ChoiceRecord: Codable {
    struct Way: Codable {
        let name: String
        let record: SideRecord
        /// Difference from the results of the selected algorithm.
        let difference: ResultDifference
    }

    /// The selected algorithm, measured alternately with the others.
    let selected: SideRecord
    let ways: [Way]
    let tolerance: Double

    var agrees: Bool { ways.allSatisfy { $0.difference.largest <= tolerance } }
}

/// The results of one case.
struct BenchmarkRow: Codable {
    let name: String
    let group: BenchmarkGroup
    let ours: SideRecord
    let twins: [TwinRecord]
    /// Floating-point operations of a pass, 2 per multiply-add, with direct convolutions.
    let operations: Double?
    /// Minimum bytes read and written by a pass.
    let bytes: Double?
    /// Maximum peak resident size of our process in bytes.
    let peakLimit: Int?
    /// Our rate divided by the ceiling of the machine, for operations or for bytes. Fast convolutions need fewer
    /// operations than are counted, so that it can exceed 1.
    let shareOfCeiling: Double?
    let backgroundLoad: BackgroundLoad
    /// False if the sides ran one after the other, because both together do not fit into memory.
    let isAlternating: Bool
    let curve: CurvePoint?
    /// Nil without alternatives.
    let choice: ChoiceRecord?

    /// Operations (or bytes) per second of our median pass.
    var rate: Double? { (operations ?? bytes).map { $0 / ours.statistics.median } }
    /// Whether all results agree.
    var agrees: Bool { twins.allSatisfy(\.agrees) && choice?.agrees != false }

    subscript(type: TwinType) -> TwinRecord? { twins.first { $0.type == type } }
}

/// A case that did not run.
struct SkippedCase: Codable {
    let name: String
    let reason: String
}

/// The results of a run.
struct BenchmarkReport: Codable {
    var machine: MachineDescription
    var rows: [BenchmarkRow] = []
    var skipped: [SkippedCase] = []
}
