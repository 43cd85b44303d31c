// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestKit
import Testing

@testable import Recipes

@Suite struct BitRecipeTests {
    private func decode(_ text: String) throws(RecipeError) -> BitRecipe {
        try BitRecipe.decode(from: Data(text.utf8))
    }

    @Test("a written recipe reads back equal, and writes the same bytes again")
    func roundTrip() throws {
        var recipe = BitRecipe(
            layers: ["mid.b": BitWidth(2), "mid.a": BitWidth(7)], averageBits: 0.1 + 0.2, storedBytes: 12345,
            method: "threshold", cachedSteps: 50, model: FileReference(path: "a/model.h5", sha256: "00ff"),
            source: "a test",
            manifest: RunManifest(
                toolVersion: "0.1.0", commandLine: ["bitsfusion", "allocate"], seed: .max,
                inputs: [FileReference(path: "sensitivity.json", sha256: "ab")]))
        recipe.deadZones = ["mid.b": 0.7]
        recipe.entropyBits = 1.6
        let data = try recipe.encoded()
        #expect(try BitRecipe.decode(from: data) == recipe)
        #expect(try BitRecipe.decode(from: data).encoded() == data)
        let text = String(decoding: data, as: UTF8.self)
        #expect(text.contains(#""path" : "a/model.h5""#))
        #expect(text.contains(#""averageBits" : 0.30000000000000004"#))
        #expect(text.contains(#""mid.b" : 0.7"#))
        #expect(text.hasSuffix("}\n"))
        let order = try ["averageBits", "deadZones", "layers", "mid.a", "version"].map {
            try #require(text.range(of: "\"\($0)\""))
        }
        #expect(zip(order, order.dropFirst()).allSatisfy { $0.lowerBound < $1.lowerBound })
    }

    @Test("the shipped recipe has the format of this program")
    func shippedRecipe() throws {
        let recipe = try BitRecipe.load(contentsOf: RecipeFixtures.publishedRecipe)
        #expect(recipe.layers.count == 258)
        #expect(recipe.method == "published")
        #expect(try recipe.encoded() == Data(contentsOf: RecipeFixtures.publishedRecipe))
        try recipe.validate(against: RecipeFixtures.stableDiffusion15())
    }

    @Test(
        "repeated keys anywhere, unknown keys, and no format where its key is are refused",
        arguments: [
            (#"{"layers": {"conv_in": 8, "conv_in": 2}}"#, "conv_in"),
            (#"{"layers": {"conv_in": 8}, "layers": {"conv_in": 2}}"#, "layers"),
            (
                #"{"format": "bitsfusion-recipe", "version": 2, "cachedStep": 4, "layers": {"conv_in": 8}}"#,
                "cachedStep"
            ),
            (#"{"format": null, "layers": {"conv_in": 8}}"#, "format"),
        ])
    func wrongKeys(text: String, key: String) throws {
        for read in [{ try self.decode(text) }, { try BitRecipe.decode(anyFormat: Data(text.utf8)) }] {
            let error = #expect(throws: RecipeError.self) { try read() }
            guard case .malformed(key, _)? = error else {
                Issue.record("\(String(describing: error))")
                continue
            }
        }
    }

    @Test("a byte order mark is skipped")
    func byteOrderMark() throws {
        let data = Data(("\u{FEFF}" + #"{"layers": {"conv_in": 8}}"#).utf8)
        let expected = BitRecipe(layers: ["conv_in": BitWidth(8)])
        #expect(try BitRecipe.decode(from: data) == expected)
        #expect(try BitRecipe.decode(anyFormat: data) == expected)
        #expect(try BitRecipe.decode(anyFormat: Data("\u{FEFF}conv_in: 8\n".utf8)) == expected)
    }

    @Test("the error for a layer that the model does not have names the model that the recipe was made for")
    func otherModel() throws {
        var recipe = BitRecipe(layers: ["nope": BitWidth(3)])
        recipe.model = FileReference(path: "sd15.h5", sha256: "00")
        let error = #expect(throws: RecipeError.unknownLayer(path: "nope", model: "sd15.h5")) {
            try recipe.validate(against: RecipeFixtures.stableDiffusion15())
        }
        #expect(error.map { "\($0)" }?.contains("the recipe was made for sd15.h5") == true)
    }

    @Test("a plain table of layers is a recipe")
    func plainForm() throws {
        let recipe = try decode(#"{"layers": {"conv_in": 8, "mid.a": 1}}"#)
        #expect(recipe == BitRecipe(layers: ["conv_in": BitWidth(8), "mid.a": BitWidth(1)]))
    }

    @Test("a published table with other keys is a recipe")
    func publishedForm() throws {
        let recipe = try decode(
            """
            {"source": "a paper", "model": "Stable Diffusion v1.5 UNet", "published_average_bits": 1.99,
             "published_size_megabytes": 219, "layers": {"mid.a": 3}}
            """)
        #expect(recipe == BitRecipe(layers: ["mid.a": BitWidth(3)], source: "a paper"))
    }

    @Test(
        "faulty recipes are refused as data",
        arguments: [
            (#"{"layers": {"mid.a": 9}}"#, RecipeError.bitsOutOfRange(path: "mid.a", found: 9)),
            (#"{"layers": {"mid.a": 0}}"#, .bitsOutOfRange(path: "mid.a", found: 0)),
            (
                #"{"format": "bitsfusion-sensitivity", "version": 2, "layers": {"mid.a": 1}}"#,
                .wrongFormat(expected: "bitsfusion-recipe", found: "bitsfusion-sensitivity")
            ),
            (
                #"{"format": "bitsfusion-recipe", "version": 3, "layers": {"mid.a": 1}}"#,
                .unsupportedVersion(format: "bitsfusion-recipe", expected: 2, found: 3)
            ),
            (
                #"{"format": "bitsfusion-recipe", "layers": {"mid.a": 1}}"#,
                .malformed(location: "version", reason: "missing; expected 2")
            ),
            (#"{"layers": {}}"#, .malformed(location: "layers", reason: "no layers")),
            (
                #"{"layers": {"mid.a": 1}, "deadZones": {"mid.b": 0.6}}"#,
                .malformed(location: "deadZones: mid.b", reason: "not one of the layers")
            ),
            (
                #"{"layers": {"mid.a": 1}, "deadZones": {"mid.a": 1}}"#,
                .malformed(location: "deadZones: mid.a", reason: "expected 0.5 to below 1, found 1.0")
            ),
            (
                #"{"layers": {"mid.a": 1}, "deadZones": {"mid.a": "wide"}}"#,
                .malformed(location: "deadZones: mid.a", reason: "expected a number")
            ),
            (#"{"bits": {}}"#, .malformed(location: "layers", reason: "missing")),
        ])
    func faults(text: String, expected: RecipeError) {
        #expect(recipeError { () throws(RecipeError) in _ = try decode(text) } == expected)
        #expect(!expected.description.contains("\n"))
    }

    @Test(
        "bits that are not a whole number are refused with their layer", arguments: ["1.5", "\"2\"", "null"])
    func mistypedWidth(value: String) {
        let error = recipeError { () throws(RecipeError) in
            _ = try decode("{\"layers\": {\"mid.a\": \(value)}}")
        }
        #expect(error?.description.hasPrefix("layers: mid.a: malformed") == true)
    }

    @Test("text that is not JSON is refused on one line")
    func notJSON() throws {
        for text in ["", "{", "layers", "[1, 2]", "{\"layers\": {\"a\" 1}}"] {
            let error = recipeError { () throws(RecipeError) in _ = try decode(text) }
            let description = try #require(error).description
            #expect(description.contains("malformed"))
            #expect(!description.contains("\n"))
        }
    }

    @Test("writing replaces the old file and leaves no other file")
    func writing() throws {
        try TemporaryFolder.with { folder in
            let url = folder.url("recipe.json")
            try Data("old".utf8).write(to: url)
            let recipe = BitRecipe(layers: ["mid.a": BitWidth(3)])
            try recipe.write(to: url)
            #expect(try BitRecipe.load(contentsOf: url) == recipe)
            #expect(folder.names == ["recipe.json"])
        }
    }

    @Test("a missing file and an unwritable path are named")
    func files() throws {
        try TemporaryFolder.with { folder in
            let url = folder.url("none/recipe.json")
            #expect(throws: RecipeError.inFile(name: url.path, .fileMissing)) {
                try BitRecipe.load(contentsOf: url)
            }
            #expect(
                throws: RecipeError.inFile(name: url.path, .unwritable(reason: "No such file or directory"))
            ) {
                try BitRecipe(layers: ["mid.a": BitWidth(3)]).write(to: url)
            }
        }
    }

    @Test("a pipe is not replaced by a recipe, and a folder is not read as one")
    func otherKindsOfFile() throws {
        try TemporaryFolder.with { folder in
            let pipe = folder.url("pipe")
            #expect(mkfifo(pipe.path, 0o600) == 0)
            let error = recipeError { () throws(RecipeError) in
                try BitRecipe(layers: ["mid.a": BitWidth(3)]).write(to: pipe)
            }
            #expect(error?.description.contains("the path is a folder, device or pipe") == true)
            let kind = try FileManager.default.attributesOfItem(atPath: pipe.path)[.type]
            #expect(kind as? FileAttributeType == .typeUnknown)
            #expect(folder.names == ["pipe"])
            let reading = recipeError { () throws(RecipeError) in
                _ = try BitRecipe.load(contentsOf: URL(fileURLWithPath: folder.path))
            }
            #expect(reading?.description.contains("expected a JSON document, found a folder") == true)
        }
    }

    @Test(
        "errors name steps out of range and numbers with fractions",
        arguments: ["-1", "1001", "1.5"])
    func cachedSteps(_ steps: String) throws {
        let error = recipeError { () throws(RecipeError) in
            _ = try decode(
                #"{"format": "bitsfusion-recipe", "version": 2, "cachedSteps": \#(steps), "layers": {"a": 3}}"#
            )
        }
        let text = try #require(error).description
        #expect(
            text.contains(
                steps == "1.5" ? "a whole number belongs" : "cachedSteps: malformed: expected 0 to 1000"))
    }

    @Test("a faulty recipe is never written")
    func refusesToWrite() throws {
        let recipe = BitRecipe(layers: ["mid.a": BitWidth(3)], averageBits: .nan)
        #expect(throws: RecipeError.self) { try recipe.encoded() }
    }
}
