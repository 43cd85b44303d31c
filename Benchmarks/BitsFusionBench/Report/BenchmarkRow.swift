// SPDX-License-Identifier: Apache-2.0
// What is known about one case after it has run: the unit of the table, of the markdown and of the JSON.

/// PyTorch's side of a row.
struct TwinRecord: Codable {
    let type: TwinType
    let record: SideRecord
    let difference: ResultDifference
    let tolerance: Double
    /// Our median time over the twin's.
    let ratio: Double
    let target: Double?

    /// Whether both computed the same thing.
    var agrees: Bool { difference.largest <= tolerance }
    /// Whether the ratio is as low as it should be; nil without a target.
    var isOnTarget: Bool? { target.map { ratio <= $0 } }
}

/// The library's choice of a way to compute, against the ways that it could have chosen.
struct ChoiceRecord: Codable {
    struct Way: Codable {
        let name: String
        let record: SideRecord
        /// From the results of the library's choice.
        let difference: ResultDifference
    }

    /// What was chosen, measured in turn with the others.
    let chosen: SideRecord
    let ways: [Way]
    let tolerance: Double

    var agrees: Bool { ways.allSatisfy { $0.difference.largest <= tolerance } }
}

/// One case's outcome.
struct BenchmarkRow: Codable {
    let name: String
    let group: BenchmarkGroup
    let ours: SideRecord
    let twins: [TwinRecord]
    /// Floating-point operations of a pass, 2 per multiply-add, convolutions counted directly.
    let operations: Double?
    /// Bytes that a pass must move at least.
    let bytes: Double?
    /// What our peak resident size must not exceed, in bytes.
    let peakLimit: Int?
    /// Our rate as a share of the machine's ceiling: of multiply-adds where operations are counted, of the memory's
    /// where bytes are. Fast convolutions do fewer operations than are counted, so it can exceed 1.
    let shareOfCeiling: Double?
    let disturbance: BackgroundLoad
    /// False where the sides ran one after the other, since both together would not fit into memory.
    let isAlternating: Bool
    let curve: CurvePoint?
    /// nil where there was nothing to choose.
    let choice: ChoiceRecord?

    /// Operations (or bytes) a second of our median pass.
    var rate: Double? { (operations ?? bytes).map { $0 / ours.statistics.median } }
    /// Whether all sides computed the same thing.
    var agrees: Bool { twins.allSatisfy(\.agrees) && choice?.agrees != false }

    subscript(type: TwinType) -> TwinRecord? { twins.first { $0.type == type } }
}

/// A case that did not run.
struct SkippedCase: Codable {
    let name: String
    let reason: String
}

/// A whole run.
struct BenchmarkReport: Codable {
    var machine: MachineDescription
    var rows: [BenchmarkRow] = []
    var skipped: [SkippedCase] = []
}
