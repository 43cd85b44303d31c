// SPDX-License-Identifier: Apache-2.0
// `bitsfusion merge`: the parts of a sharded analysis become one table.

import ArgumentParser
import BitsFusion
import Foundation

struct MergeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge",
        abstract: "Join the tables of parts of one analysis.",
        discussion: """
            Each part lists other layers of the same model, measured by the same program in the same way: anything else \
            is refused. A layer that two parts list must be equal in both. Correlations and sums are worked out over all \
            layers, so the result is what an analysis in one go would have written.

            Example:

              bitsfusion merge part-1.json part-2.json -o sensitivity.json
            """)

    @Argument(help: "Tables that `bitsfusion analyze` wrote.")
    var tables: [String]

    @Option(name: .shortAndLong, help: "The table to write.")
    var output = "sensitivity.json"

    @Flag(help: "Print the whole table as JSON instead of the findings.")
    var json = false

    func run() throws {
        try Output.checkCanCreate(output, keeping: tables)
        var merged = try SensitivityTable.merged(
            tables.map {
                NamedSensitivityTable(
                    name: $0, table: try SensitivityTable.load(contentsOf: URL(fileURLWithPath: $0)))
            })
        merged.manifest = try Output.manifest(inputs: tables)
        try merged.write(to: URL(fileURLWithPath: output))
        let missing = merged.unlistedLayers
        if let first = missing.first {
            Output.warning(
                "\(output): \(missing.count) of the model's layers are missing, the first is \(first); merge the parts "
                    + "that have them before `allocate`")
        }
        if json { return try Output.json(merged) }
        SensitivityReport(merged).print()
        Output.line("")
        Output.line(
            "\(output): \(merged.layers.count) layers of \(tables.count) tables"
                + (missing.isEmpty ? "; next: bitsfusion allocate \(output) --avg-bits 1.99" : ""))
    }
}
