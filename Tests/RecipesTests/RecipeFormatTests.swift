// SPDX-License-Identifier: Apache-2.0
// Recipes in other formats.

import Foundation
import Testing

@testable import Recipes

@Suite struct RecipeFormatTests {
    private let recipe = BitRecipe(
        layers: [
            "conv_in": BitWidth(8), "mid_block.attentions.0.proj_in": BitWidth(3), "up.to_out.0": BitWidth(1),
        ],
        averageBits: 1.99)

    @Test("a recipe written in any format reads back with the same bits", arguments: RecipeFormat.allCases)
    func roundTrip(format: RecipeFormat) throws {
        let data = try recipe.encoded(as: format)
        #expect(try BitRecipe.decode(anyFormat: data).layers == recipe.layers)
        #expect(try recipe.encoded(as: format) == data)
        if format == .json { #expect(try BitRecipe.decode(anyFormat: data) == recipe) }
    }

    @Test("only recipes in JSON have dead zones", arguments: [RecipeFormat.list, .apple])
    func deadZones(format: RecipeFormat) throws {
        var wide = recipe
        wide.deadZones = ["up.to_out.0": 0.8]
        #expect(try BitRecipe.decode(anyFormat: wide.encoded(as: .json)) == wide)
        #expect(throws: RecipeError.self) { try wide.encoded(as: format) }
    }

    @Test("lists may have comments, empty lines and spaces, and errors name the line") func lists() throws {
        let text = "# by hand\n\n  conv_in :8  # first\r\nmid.to_k: 2\n"
        #expect(
            try BitRecipe.decode(anyFormat: Data(text.utf8)).layers == [
                "conv_in": BitWidth(8), "mid.to_k": BitWidth(2),
            ])
        for (text, error) in [
            ("a: 2\nb 3\n", RecipeError.malformed(location: "line 2", reason: "expected \"path: bits\"")),
            ("a: two\n", .malformed(location: "line 1", reason: "expected \"path: bits\"")),
            ("a: 9\n", .bitsOutOfRange(path: "a", found: 9)),
            ("a: 2\na: 3\n", .duplicateLayer(path: "a")),
            ("# nothing\n", .malformed(location: "layers", reason: "no layers")),
            ("  \n", .malformed(location: "", reason: "expected a recipe, found an empty file; make it again")),
        ] {
            #expect(throws: error) { try BitRecipe.decode(anyFormat: Data(text.utf8)) }
        }
    }

    @Test("one recipe of an analysis is chosen by name, and 16 bits become 8") func apple()
        throws
    {
        let text = """
            {"model_version": "runwayml/stable-diffusion-v1-5", "baselines": {"original": 81.2},
             "recipes": {"recipe_2.81_bit_mixedpalette": {"a.to_k": 2, "b": 16},
                         "recipe_4.50_bit_mixedpalette": {"a.to_k": 4, "b": 6}}}
            """
        let data = Data(text.utf8)
        let found = try BitRecipe.decode(anyFormat: data, name: "recipe_2.81_bit_mixedpalette")
        #expect(found.layers == ["a.to_k": BitWidth(2), "b": BitWidth(8)])
        for name in [nil, "recipe_9"] {
            #expect(throws: RecipeError.self) { try BitRecipe.decode(anyFormat: data, name: name) }
        }
        let broken = Data(text.replacingOccurrences(of: "6}", with: "12}").utf8)
        #expect(throws: RecipeError.bitsOutOfRange(path: "b", found: 12)) {
            try BitRecipe.decode(anyFormat: broken, name: "recipe_4.50_bit_mixedpalette")
        }
    }
}
