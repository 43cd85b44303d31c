// SPDX-License-Identifier: Apache-2.0
// `merge` on tables that the program itself measured: an analysis in parts against one in one go.

import BitsFusion
import Foundation
import TestKit
import Testing

@Suite("Merging parts of an analysis")
struct MergeTests {
    /// A folder with e.safetensors, model.h5 and a table of the layers that match each pattern.
    private func folder(_ tables: [(name: String, pattern: String)], steps: String = "2") throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        try folder.makeEmbeddings()
        for (name, pattern) in tables { try analyze(folder, name, pattern, steps: steps) }
        return folder
    }

    private func analyze(_ folder: TemporaryFolder, _ name: String, _ pattern: String, steps: String = "2") throws {
        let run = try folder.run(
            "analyze", "model.h5", "--embeddings", "e.safetensors", "--bits", "1,3", "--steps", steps,
            "--layers",
            pattern, "-o", name, "--quiet")
        try #require(run.status == 0, "\(run.errors)")
    }

    private func object(_ folder: TemporaryFolder, _ name: String) throws -> [String: Any] {
        try #require(JSONSerialization.jsonObject(with: folder.data(name)) as? [String: Any])
    }

    @Test("overlapping shards merge to the table of one analysis, and allocate reads it", .slow)
    func parts() throws {
        let folder = try folder([
            ("whole.json", ""), ("a.json", "^down|^conv"), ("b.json", "^up"), ("c.json", "^mid|attn2"),
        ])
        let shard = try folder.run("allocate", "b.json", "--avg-bits", "5.5", "-o", "out.json")
        #expect(shard.status == 65 && shard.errors.contains("b.json: layers: a shard of an analysis: expected "))
        #expect(shard.errors.contains("merge all shards with `bitsfusion merge`") && !folder.names.contains("out.json"))
        let run = try folder.run("merge", "b.json", "c.json", "a.json", "-o", "merged.json")
        #expect(run.status == 0 && run.errors.isEmpty, "\(run.errors)")
        #expect(run.output.contains("cross-attention k/v"))
        #expect(run.output.contains("between bit widths: r, ρ"))
        #expect(
            run.output.contains(
                "not measured: perceptual distance, CLIP drop; requires a CLIP-proxy"))
        let (whole, merged) = (try object(folder, "whole.json"), try object(folder, "merged.json"))
        #expect(Set(whole.keys) == Set(merged.keys))
        for (key, value) in whole where key != "manifest" {
            #expect((value as? NSObject) == (merged[key] as? NSObject), "\(key)")
        }
        let manifest = try SensitivityTable.load(contentsOf: folder.url("merged.json"))
            .manifest
        #expect(manifest?.inputs.map(\.path) == ["b.json", "c.json", "a.json"])
        #expect(manifest?.commandLine.dropFirst().first == "merge")
        let allocated = try folder.run("allocate", "merged.json", "--avg-bits", "5.5", "--cached-steps", "0")
        #expect(allocated.status == 0, "\(allocated.errors)")
    }

    @Test("missing layers give one warning, and the table is written")
    func missing() throws {
        let folder = try folder([("a.json", "attn2.to_k"), ("b.json", "attn2.to_v")])
        let run = try folder.run("merge", "a.json", "b.json", "-o", "merged.json", "--json")
        let table = try SensitivityTable.load(contentsOf: folder.url("merged.json"))
        let missing = table.unlistedLayers
        #expect(run.status == 0 && run.errorLines.count == 1 && !missing.isEmpty)
        #expect(
            run.errors.contains(
                "merged.json: \(missing.count) layers of the model are missing, the first is conv_in"))
        let printed = try SensitivityTable.decode(from: Data(run.output.utf8))
        #expect(printed == table)
    }

    @Test("shards of different analyses are refused in one line by file and field, and no file is written")
    func refused() throws {
        let folder = try folder([("a.json", "attn2.to_k")])
        try analyze(folder, "b.json", "attn2.to_v", steps: "3")
        let steps = try folder.run("merge", "a.json", "b.json", "-o", "merged.json")
        #expect(
            steps.status == 65
                && steps.errors.contains(
                    "b.json: generation.steps: differs from a.json: expected 2, found 3; merge tables")
        )
        var table = try SensitivityTable.load(contentsOf: folder.url("a.json"))
        table.model = FileReference(path: "model.h5", sha256: "00")
        try table.write(to: folder.url("c.json"))
        let model = try folder.run("merge", "a.json", "c.json", "-o", "merged.json")
        #expect(model.status == 65 && model.errors.contains("c.json: model.sha256: differs from a.json"))
        let gone = try folder.run("merge", "a.json", "gone.json", "-o", "merged.json")
        #expect(gone.status == 66 && gone.errors.contains("gone.json: no such file"))
        let recipe = try folder.run("merge", "a.json", "recipe.json", "-o", "merged.json")
        #expect(recipe.status == 65 && recipe.errors.contains("recipe.json: format: wrong kind of file"))
        let over = try folder.run("merge", "a.json", "-o", "a.json")
        #expect(over.status == 64 && over.errors.contains("a.json: is an input"))
        #expect(try folder.run("merge", "-o", "merged.json").status == 64)
        for run in [steps, model, gone, recipe, over] { #expect(run.errorLines.count == 1, "\(run.errors)") }
        #expect(!folder.names.contains("merged.json"))
    }
}
