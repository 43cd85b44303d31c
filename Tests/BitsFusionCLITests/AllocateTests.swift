// SPDX-License-Identifier: Apache-2.0
// `allocate` as a user runs it: every kind of budget, recipes in other forms, the curve, and recipes measured on the
// model.

import BitsFusion
import Foundation
import TestKit
import Testing

@Suite struct AllocateTests {
    /// A folder with model.h5, e.safetensors and sensitivity.json.
    private func analyzedFolder() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        try folder.makeEmbeddings()
        try succeed(
            folder.run(
                "analyze", "model.h5", "--embeddings", "e.safetensors", "--steps", "2", "--measure",
                "images,noise,fisher", "--quiet"))
        return folder
    }

    private func succeed(_ run: ProgramRun) throws { try #require(run.status == 0, "\(run.errors)") }

    private func object(_ text: String) throws -> [String: Any] {
        try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    private func report(_ folder: TemporaryFolder, _ arguments: [String]) throws -> [String: Any] {
        let run = try folder.run(["allocate", "--json", "--cached-steps", "5"] + arguments)
        try succeed(run)
        return try object(run.output)
    }

    @Test(
        "quantize packs a file within the size that allocate was given", .slow, arguments: AllocationMethod.allCases
    )
    func size(method: AllocationMethod) throws {
        let folder = try analyzedFolder()
        let whole = try report(folder, ["--method", method.rawValue, "--avg-bits", "40"])
        let most = try #require(whole["storedBytes"] as? Int)
        let found = try report(folder, ["--method", method.rawValue, "--size", "\(most - 700)B"])
        let stored = try #require(found["storedBytes"] as? Int)
        #expect(stored <= most - 700 && stored > most - 2000)
        try succeed(
            folder.run(
                "quantize", "model.h5", "--recipe", "recipe.json", "-o", "packed.h5", "--encoding",
                method == .entropy ? "entropy" : "radix",
                "--sampler", "ddim", "--cached-steps", "5", "--quiet"))
        let info = try folder.run("info", "packed.h5", "--json")
        try succeed(info)
        let quantized = try #require(object(info.output)["quantized"] as? [String: Any])
        let bytes = try folder.data("packed.h5").count
        #expect(quantized["storedBytes"] as? Int == bytes)
        #expect(bytes <= stored && stored - bytes < 24_000)
        let little = try folder.run("allocate", "--size", "1kB")
        #expect(little.status == 65 && little.errors.contains("budget: too small"))
    }

    @Test("recipes in all formats read back and give the same model", .slow)
    func forms() throws {
        let folder = try analyzedFolder()
        for (name, format) in [("r.json", "json"), ("r.txt", "list"), ("apple.json", "apple")] {
            try succeed(
                folder.run(
                    "allocate", "--avg-bits", "6", "--cached-steps", "5", "--format", format, "-o", name))
            let run = try folder.run("info", "config.json", "--recipe", name, "--cached-steps", "5", "--json")
            try succeed(run)
            let quantized = try #require(object(run.output)["quantized"] as? [String: Any])
            #expect(quantized["averageBits"] as? Double ?? 9 <= 6)
        }
        let recipes = try ["r.json", "r.txt", "apple.json"].map {
            try BitRecipe.load(anyFormat: folder.url($0)).layers
        }
        #expect(recipes[0] == recipes[1] && recipes[0] == recipes[2])
        let wrong = try folder.run("info", "config.json", "--recipe", "apple.json#other")
        #expect(wrong.status == 65 && wrong.errors.contains("found recipe_"))
    }

    @Test("the curve has all efficient sizes, none with a larger error than the paper's rule, and an image", .slow)
    func curve() throws {
        let folder = try analyzedFolder()
        _ = try report(folder, ["--metric", "noise", "--avg-bits", "6", "--curve", "curve.json"])
        let curve = try JSONDecoder().decode(AllocationCurve.self, from: folder.data("curve.json"))
        #expect(curve.metric == .noise && curve.optimal.count > 20 && !curve.threshold.isEmpty)
        for (a, b) in zip(curve.optimal, curve.optimal.dropFirst()) {
            #expect(a.averageBits < b.averageBits && a.predictedError > b.predictedError)
            #expect(try #require(a.storedBytes) <= #require(b.storedBytes))
        }
        for point in curve.threshold {
            let same = try report(
                folder, ["--metric", "noise", "--method", "optimal", "--avg-bits", "\(point.averageBits)"])
            #expect(try #require(same["predictedError"] as? Double) <= point.predictedError * (1 + 1e-9))
        }
        let drawing = String(decoding: try folder.data("curve.svg"), as: UTF8.self)
        #expect(drawing.hasPrefix("<svg") && drawing.contains("threshold (the paper's rule)"))
        #expect(XMLNodes.areBalanced(drawing))
    }

    @Test("recipes by entropy are measured, quantized and described with their dead zones", .slow)
    func entropy() throws {
        let folder = try analyzedFolder()
        let found = try report(folder, ["--method", "entropy", "--avg-bits", "3", "--verify-top", "3"])
        #expect(try #require(found["entropyBits"] as? Double) <= 3)
        #expect(try #require(found["averageBits"] as? Double) > 3)
        let verified = try #require(found["verified"] as? [[String: Any]])
        #expect(verified.allSatisfy { $0["method"] as? String == "entropy" })
        let recipe = try BitRecipe.load(contentsOf: folder.url("recipe.json"))
        #expect(recipe.deadZones.count == found["deadZones"] as? Int && !recipe.deadZones.isEmpty)
        let info = try folder.run("info", "model.h5", "--recipe", "recipe.json", "--json")
        try succeed(info)
        let described = try object(info.output)
        let quantized = try #require(described["quantized"] as? [String: Any])
        let entropy = try #require(recipe.entropyBits)
        // JSONSerialization rounds.
        #expect(try abs(#require(quantized["entropyBits"] as? Double) - entropy) < 1e-9)
        let layers = try #require(described["layers"] as? [[String: Any]])
        #expect(layers.count { $0["deadZone"] is Double } == recipe.deadZones.count)
        let packing = try folder.run(
            "quantize", "model.h5", "--recipe", "recipe.json", "-o", "packed.h5", "--sampler", "ddim",
            "--cached-steps", "5", "--json")
        try succeed(packing)
        let packed = try object(packing.output)
        // Small layers: frequencies and padding take bits, too.
        let coded = try #require(packed["codedBits"] as? Double)
        #expect(try coded < #require(packed["averageBits"] as? Double))
        #expect(coded > 0.9 * entropy)
    }

    @Test("a table without rate-distortion curves gets them from a finished analysis", .slow)
    func addedRates() throws {
        let folder = try analyzedFolder()
        let whole = try folder.data("sensitivity.json")
        var table = try SensitivityTable.load(contentsOf: folder.url("sensitivity.json"))
        for index in table.layers.indices { table.layers[index].rates = [] }
        try table.write(to: folder.url("sensitivity.json"))
        let refused = try folder.run("allocate", "--method", "entropy")
        #expect(refused.status == 65 && refused.errors.contains("rates: missing"), "\(refused.errors)")
        try succeed(
            folder.run(
                "analyze", "model.h5", "--embeddings", "e.safetensors", "--steps", "2", "--measure",
                "images,noise,fisher", "--quiet", "--resume"))
        #expect(try folder.data("sensitivity.json") == whole)
    }

    @Test("recipes of both methods are measured on the model and listed in the file", .slow)
    func verification() throws {
        let folder = try analyzedFolder()
        let found = try report(folder, ["--avg-bits", "5.6", "--verify-top", "4"])
        let verified = try #require(found["verified"] as? [[String: Any]])
        #expect((2...4).contains(verified.count))
        let errors = verified.compactMap { ($0["measured"] as? [String: Any])?["mse"] as? Double }
        let kept = try #require(verified.firstIndex { $0["isKept"] as? Bool == true })
        #expect(errors.count == verified.count && errors[kept] == errors.min())
        let recipe = try BitRecipe.load(contentsOf: folder.url("recipe.json"))
        #expect(recipe.verified?.count == verified.count)
        #expect(recipe.method == verified[kept]["method"] as? String)
        try succeed(folder.run("init", "--config", "config.json", "--seed", "8", "-o", "model.h5"))
        let other = try folder.run("allocate", "--avg-bits", "5.6", "--verify-top", "4")
        #expect(other.status == 65 && other.errors.contains("is not the model of sensitivity.json"))
    }

    @Test("names of one character work, and counts and sums out of range are errors", .slow)
    func extremes() throws {
        let folder = try analyzedFolder()
        let short = try folder.run("allocate", "--avg-bits", "6", "--cached-steps", "5", "-o", "R")
        #expect(short.status == 0 && folder.names.contains("R"))
        let text = String(decoding: try folder.data("sensitivity.json"), as: UTF8.self)
        for (pattern, value, message) in [
            (#"("otherParameters" : )\d+"#, "4611686018427387904", "otherParameters"),
            (#"("mse" : )[-0-9.e]+"#, "1e308", "the sum of the scores is not finite"),
            (#"("steps" : )\d+"#, "0", "edited.json: sampler: 0 steps requested"),
        ] {
            let regex = try Regex(pattern)
            let edited = text.replacing(regex) { match in "\(match.output[1].substring ?? "")\(value)" }
            #expect(edited != text)
            try folder.write("edited.json", edited)
            let run = try folder.run(
                "allocate", "edited.json", "--metric", "mse", "--avg-bits", "6", "--cached-steps", "5",
                "--verify-top", "1", "-o", "out.json")
            #expect(
                run.status == 65 && run.errors.contains(message) && run.errorLines.count == 1, "\(run.errors)"
            )
            #expect(!folder.names.contains("out.json"))
        }
    }

    @Test("pins and the maximum of bits are respected", .slow)
    func pins() throws {
        let folder = try analyzedFolder()
        _ = try report(
            folder,
            [
                "--avg-bits", "7", "--method", "optimal", "--pin", "attn2=1", "--pin", "to_v$=2",
                "--max-bits", "5",
            ])
        let recipe = try BitRecipe.load(contentsOf: folder.url("recipe.json"))
        for (path, bits) in recipe.layers where UNetLayerPolicy().role(ofLayer: path.rawValue) == .searched {
            let expected = path.rawValue.hasSuffix("to_v") ? 2 : path.rawValue.contains("attn2") ? 1 : nil
            #expect(expected.map { bits.rawValue == $0 } ?? (bits.rawValue <= 5), "\(path)")
        }
    }
}

/// Checks that each element of a drawing is closed.
private enum XMLNodes {
    static func areBalanced(_ text: String) -> Bool {
        let opened = text.matches(of: #/<[a-z]+[^>]*[^\/]>/#).count
        let closed = text.matches(of: #/<\/[a-z]+>/#).count
        return opened == closed
    }
}
