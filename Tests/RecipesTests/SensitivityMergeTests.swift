// SPDX-License-Identifier: Apache-2.0
// Shards of one analysis merge to its table in any order; shards of other analyses are refused by file and field.

import Analyzer
import Foundation
import Tensors
import TestKit
import Testing

@testable import Recipes

@Suite struct SensitivityMergeTests {
    /// A table of 12 layers with an inventory that lists them and the first and last convolution.
    private static func whole() throws -> SensitivityTable {
        let paths = (0..<12).map { LayerID("mid.\($0)\($0 % 3 == 0 ? ".attn2.to_k" : "")") }
        let shapes = paths.map { LayerShape(path: $0, kind: .linear, shape: [4, 5], hasBias: false) }
        let ends = ["conv_in", "conv_out"].map {
            LayerShape(path: LayerID($0), kind: .conv2d, shape: [4, 4, 1, 1], hasBias: false)
        }
        let layers = paths.enumerated().map { index, path in
            let x = Double(index * 7 % 12) + 0.1
            return LayerSensitivity(
                path: path, kind: .linear, weights: 20, skewness: x / 9,
                bits: [
                    BitWidth(1): SensitivityScores(mse: x, psnr: -log(x), noise: x * x),
                    BitWidth(2): SensitivityScores(mse: x / 3, psnr: -log(x / 3), noise: x),
                ])
        }
        var table = SensitivityTable(
            layers: layers.sorted { $0.path < $1.path }, model: FileReference(path: "m.h5", sha256: "0a"),
            inventory: try ModelInventory(layers: shapes + ends, otherParameters: 0),
            generation: AnalysisSettings(
                prompts: ["a red circle", "a square"], seeds: [0, .max], sampler: "ddim", steps: 8,
                guidanceScale: 7.3, qatSteps: 0),
            manifest: RunManifest(toolVersion: "0.1.0", commandLine: ["a"], seed: 0, inputs: []))
        table.correlations = table.measuredCorrelations()
        return table
    }

    /// The table of the layers at `indices` of `whole`, as a separate run would write it.
    private static func shard(_ indices: some Sequence<Int>) throws -> SensitivityTable {
        var table = try whole()
        table.layers = indices.map { table.layers[$0] }
        table.correlations = table.measuredCorrelations()
        return table
    }

    private func named(_ tables: [SensitivityTable]) -> [NamedSensitivityTable] {
        tables.enumerated().map { NamedSensitivityTable(name: "\($0.offset).json", table: $0.element) }
    }

    @Test(
        "any partition in any order merges to the table of one run, in every byte but the manifest",
        arguments: [1, 2, 3, 5, 12])
    func partitions(count: Int) throws {
        var whole = try Self.whole()
        whole.manifest = nil
        let shards = try (0..<count).map { part in try Self.shard(stride(from: part, to: 12, by: count)) }
        for order in [shards, shards.reversed()] {
            let merged = try SensitivityTable.merged(named(order))
            #expect(try merged.encoded() == whole.encoded())
            #expect(merged == whole)
        }
    }

    @Test("layers in two shards are listed once, and unlisted layers of the inventory are named")
    func overlap() throws {
        let merged = try SensitivityTable.merged(named([Self.shard(0..<8), Self.shard(5..<11)]))
        #expect(merged.layers == Array(try Self.whole().layers[0..<11]))
        #expect(merged.unlistedLayers == ["conv_in", "conv_out", try Self.whole().layers[11].path])
    }

    private func error(_ change: (inout SensitivityTable) -> Void) throws -> RecipeError? {
        var other = try Self.shard(4..<9)
        change(&other)
        let tables = named([try Self.shard(0..<5), other])
        return recipeError { () throws(RecipeError) in _ = try SensitivityTable.merged(tables) }
    }

    @Test("a shard of another model, program, analysis or measurement is refused by file, field and both values")
    func refused() throws {
        func other(_ field: String, _ expected: String, _ found: String) -> RecipeError {
            .inFile(
                name: "1.json", .otherAnalysis(field: field, expected: expected, file: "0.json", found: found))
        }
        #expect(
            try error { $0.model = FileReference(path: "m.h5", sha256: "0b") }
                == other("model.sha256", "\"0a\"", "\"0b\""))
        #expect(try error { $0.model = nil } == other("model.sha256", "\"0a\"", "null"))
        #expect(
            try error {
                $0.manifest = RunManifest(toolVersion: "0.2.0", commandLine: [], seed: 0, inputs: [])
            } == other("manifest.toolVersion", "\"0.1.0\"", "\"0.2.0\""))
        #expect(
            try error { $0.generation?.prompts[1] = "a cross" }
                == other("generation.prompts[1]", "\"a square\"", "\"a cross\""))
        #expect(
            try error { $0.generation?.seeds = [0] }
                == other("generation.seeds[1]", "18446744073709551615", "nothing"))
        #expect(
            try error { $0.generation?.measures = [.noise] }
                == other("generation.measures[0]", "\"images\"", "\"noise\""))
        #expect(
            try error { $0.generation?.guidanceScale = 7.300000000000001 }
                == other("generation.guidanceScale", "7.3", "7.300000000000001"))
        #expect(try error { $0.inventory = nil } == other("inventory", "an object", "null"))
        let path = try Self.whole().layers[4].path
        let noise = try #require(try error { $0.layers[0].bits[BitWidth(2)]?.noise = nil })
        guard case .inFile("1.json", .otherAnalysis("\(path).bits.2.noise", _, "0.json", "null")) = noise else {
            Issue.record("\(noise)")
            return
        }
        #expect(
            try error { $0.layers[0].bits[BitWidth(1)] = nil } == other("\(path).bits.1", "an object", "nothing"))
        #expect(try error { $0.model = FileReference(path: "copy.h5", sha256: "0a") } == nil)
    }

    @Test("a conflict is reported with the file that it is with") func third() throws {
        var other = try Self.shard(5..<9)
        other.layers[0].skewness += 1
        let tables = named([try Self.shard(0..<2), try Self.shard(5..<7), other])
        let error = recipeError { () throws(RecipeError) in _ = try SensitivityTable.merged(tables) }
        guard case .inFile("2.json", .otherAnalysis(let field, _, "1.json", _))? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(field.hasSuffix(".skewness"))
    }

    @Test("an empty list of tables is refused") func none() {
        #expect(throws: RecipeError.malformed(location: "tables", reason: "expected one or more, found none")) {
            try SensitivityTable.merged([])
        }
    }
}
