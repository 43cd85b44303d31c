// SPDX-License-Identifier: Apache-2.0
// `bitsfusion merge`: merges the shards of an analysis into one table.

import ArgumentParser
import BitsFusion
import Foundation

struct MergeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge",
        abstract: "Merge the tables of the shards of one analysis.",
        usage: "bitsfusion merge <tables> ... [--output <output>] [--json]",
        discussion: """
            Reads sensitivity tables of `bitsfusion analyze --shard`. Writes the table of the \
            whole analysis, with correlations and sums over all layers. The shards must have the \
            same model, program version and settings; a layer in two shards must be equal in both.

            Examples:

              bitsfusion merge part-1.json part-2.json -o sensitivity.json
              bitsfusion merge part-*.json --json
            """)

    @Argument(help: "Sensitivity tables of shards.")
    var tables: [String]

    @Option(name: .shortAndLong, help: "Sensitivity table to write.")
    var output = "sensitivity.json"

    @Flag(help: "Print the table as JSON.")
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
                "\(output): \(missing.count) layers of the model are missing, the first is \(first); merge the "
                    + "shards with them before `bitsfusion allocate`")
        }
        if json { return try Output.json(merged) }
        SensitivityReport(merged).print()
        Output.line("")
        Output.line(
            "\(output): \(merged.layers.count) layers from \(tables.count) tables"
                + (missing.isEmpty ? "; next: bitsfusion allocate \(output) --avg-bits 1.99" : ""))
    }
}
