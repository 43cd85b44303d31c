// SPDX-License-Identifier: Apache-2.0
// The texts of all errors of documents and of the allocation, recorded in Snapshots/library-errors.txt.

import BitsFusion
import Testing

@Suite("Error texts")
struct ErrorTextTests {
    private static let recipe: [RecipeError] = [
        .fileMissing, .unreadable(reason: "Permission denied"), .unwritable(reason: "No space left on device"),
        .wrongFormat(expected: "bitsfusion-recipe", found: "bitsfusion-sensitivity"),
        .wrongFormat(expected: "bitsfusion-recipe", found: nil),
        .unsupportedVersion(format: "bitsfusion-recipe", expected: 2, found: 1),
        .unsupportedVersion(format: "bitsfusion-recipe", expected: 2, found: 3),
        .malformed(location: "layers: conv_in", reason: "expected a whole number of bits"),
        .malformed(location: "", reason: "not valid JSON, or cut off; make the file again"),
        .unknownLayer(path: "mid.a"), .missingLayer(path: "mid.a"), .duplicateLayer(path: "mid.a"),
        .notQuantizable(path: "mid.time_emb_proj", role: .timeProjection),
        .bitsOutOfRange(path: "conv_in", found: 9),
        .nonFinite(path: "mid.a", field: "bits.1.mse", found: "nan"),
        .negative(path: "mid.a", field: "bits.1.mse", found: -1),
        .weightCount(path: "mid.a", expected: 10, found: 20),
        .otherAnalysis(field: "generation.steps", expected: "2", file: "a.json", found: "3"),
        .inFile(name: "recipe.json", .fileMissing),
    ]

    private static let allocation: [AllocationError] = [
        .infeasible(requested: 1.2, minimum: 1.58496, maximum: 4.1),
        .infeasibleSize(requested: 1000, minimum: 2000, maximum: 3000), .infeasiblePSNR(requested: 60, maximum: 41.5),
        .invalidBudget(-1), .invalidSteps(-1), .sizeWithoutInventory, .psnrNeedsImages(.noise), .pattern("("),
        .pinnedNothing("^conv_in$"), .invalidEta(.infinity),
        .unmeasuredLayer(path: "mid.a", bits: [BitWidth(1), BitWidth(2)]),
        .missingScore(path: "mid.a", bits: BitWidth(2), metric: .noise), .scoresTooLarge,
        .table(.missingLayer(path: "mid.a")),
    ]

    @Test("the errors of documents and of the allocation have the recorded texts, each one line")
    func texts() throws {
        let lines = Self.recipe.map { "RecipeError: \($0)" } + Self.allocation.map { "AllocationError: \($0)" }
        #expect(lines.allSatisfy { !$0.contains("\n") })
        try Snapshot(name: "library-errors").expect(lines.joined(separator: "\n") + "\n")
    }
}
