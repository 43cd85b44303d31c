// SPDX-License-Identifier: Apache-2.0

import Foundation
import Recipes
import Testing

@testable import Packing

@Suite struct PackingLayoutTests {
    @Test(
        "the groups of the balanced grids are the documented ones",
        arguments: [
            (3, 2, 5, 8), (5, 3, 24, 56), (9, 4, 5, 16), (17, 5, 11, 45), (33, 6, 11, 56), (65, 7, 10, 61),
            (129, 8, 9, 64), (257, 9, 7, 57),
        ])
    func groups(levels: Int, fieldBits: Int, codes: Int, bits: Int) throws {
        let fixed = try PackingLayout(levels: levels, encoding: .fixed)
        #expect(fixed.codesPerGroup == 1)
        #expect(fixed.bitsPerGroup == fieldBits)
        let radix = try PackingLayout(levels: levels, encoding: .radix)
        #expect(radix.codesPerGroup == codes)
        #expect(radix.bitsPerGroup == bits)
    }

    @Test(
        "a radix group holds its codes, is no looser than a field, and no group in 64 bits is more than 1 % denser"
    )
    func density() throws {
        for levels in PackingLayout.supportedLevels {
            let layout = try PackingLayout(levels: levels, encoding: .radix)
            let field = try PackingLayout(levels: levels, encoding: .fixed)
            let ideal = log2(Double(levels))
            // 1e-12 is much larger than the rounding error of log2 and much smaller than the gap of any group.
            #expect(ideal * Double(layout.codesPerGroup) <= Double(layout.bitsPerGroup) * (1 + 1e-12))
            #expect(layout.bitsPerGroup <= 64)
            let cost = Double(layout.bitsPerGroup) / Double(layout.codesPerGroup)
            #expect(cost <= Double(field.bitsPerGroup))
            for codes in 1...64 {
                let bits = (ideal * Double(codes) * (1 - 1e-12)).rounded(.up)
                #expect(
                    bits > 64 || bits / Double(codes) * 1.01 >= cost * (1 - 1e-12),
                    "\(levels) levels, \(codes) codes")
            }
        }
    }

    @Test(
        "byte counts are exact",
        arguments: [
            (0, 3, PackingEncoding.radix, 0), (1, 3, .radix, 1), (5, 3, .radix, 1), (6, 3, .radix, 2),
            (24, 5, .radix, 7), (25, 5, .radix, 8), (23, 5, .radix, 7), (5, 9, .radix, 2),
            (7, 257, .radix, 8),
            (0, 3, .fixed, 0), (4, 3, .fixed, 1), (5, 3, .fixed, 2), (8, 5, .fixed, 3), (9, 5, .fixed, 4),
            (8, 257, .fixed, 9), (1, 257, .fixed, 2), (1280 * 1280, 3, .radix, 327_680), (3, 256, .fixed, 3),
        ])
    func byteCounts(count: Int, levels: Int, encoding: PackingEncoding, bytes: Int) {
        #expect(packedByteCount(count: count, levels: levels, encoding: encoding) == bytes)
    }

    @Test("an encoding without fixed size has a bound but no layout")
    func noFixedSize() {
        #expect(throws: PackingError.noFixedSize(encoding: .entropy)) {
            try PackingLayout(levels: 3, encoding: .entropy)
        }
        #expect(PackingError.noFixedSize(encoding: .entropy).description.contains("one of fixed, radix"))
        #expect(packedByteCountBound(count: 0, levels: 3, encoding: .entropy) == 0)
        #expect(packedByteCountBound(count: 11, levels: 3, encoding: .entropy) == 4)
        #expect(packedByteCountBound(count: 11, levels: 3, encoding: .radix) == 3)
        #expect(packedByteCountBound(count: 11, levels: 3, encoding: .fixed) == 3)
    }

    @Test("numbers of levels outside 2...257 are rejected", arguments: [-3, 0, 1, 258])
    func unsupported(levels: Int) {
        #expect(throws: PackingError.unsupportedLevels(found: levels)) {
            try PackingLayout(levels: levels, encoding: .radix)
        }
        #expect(throws: PackingError.unsupportedLevels(found: levels)) {
            try unpackCodes([], count: 0, levels: levels, encoding: .fixed, as: Int16.self)
        }
    }

    @Test("the stored bytes of the published recipe agree with its packed model")
    func publishedRecipe() throws {
        let root = URL(filePath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let recipe = try BitRecipe.load(
            contentsOf: root.appending(path: "Configs/recipes/sd15-bitsfusion-1.99.json"))
        let layers = try Data(
            contentsOf: root.appending(path: "Tests/RecipesTests/Fixtures/sd15-layers.json"))
        let storage = StorageModel(bytesPerScale: 4) {
            packedByteCount(count: $0, levels: $1, encoding: .radix)
        }
        let bytes = try storage.storedBytes(
            recipe: recipe, inventory: JSONDecoder().decode(ModelInventory.self, from: layers),
            timeFeatures: .paper)
        #expect(recipe.storedBytes == bytes)
        // The paper's own file: 8 ternary values in 13 bits, and 219 MB.
        let paper = StorageModel(bytesPerScale: 4) { count, levels in
            levels == 3
                ? (count * 13 + 63) / 64 : Int((Double(count) * log2(Double(levels)) / 8).rounded(.up))
        }
        let published = try paper.storedBytes(
            recipe: recipe, inventory: JSONDecoder().decode(ModelInventory.self, from: layers),
            timeFeatures: .paper)
        #expect((Double(published) / 1e6).rounded() == 219)
    }
}
