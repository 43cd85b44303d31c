// SPDX-License-Identifier: Apache-2.0

import Analyzer
import Foundation
import Recipes
import Tensors
import TestKit
import Testing

@testable import BitAllocator

@Suite struct AllocateBitsTests {
    @Test("a recipe for Stable Diffusion v1.5 uses the budget to within one layer", arguments: [1.7, 1.99, 2.5, 3.0])
    func stableDiffusion15(budget: Double) throws {
        let table = try RandomTables.stableDiffusion15()
        let inventory = try #require(table.inventory)
        let found = try allocateBits(table, budget: BitBudget(averageBits: budget), method: .threshold)
        #expect(found.averageBits <= budget)
        // The largest layer's step of at most one bit.
        let largest = try #require(inventory.layers.map(\.weights).max())
        #expect(found.averageBits > budget - Double(largest) / Double(inventory.weightCount))
        #expect(found.countsWholeModel)

        let size = try SizeAccounting(recipe: found.recipe, inventory: inventory, timeFeatures: .paper)
        #expect(size.averageBits == found.averageBits)
        #expect(found.recipe.averageBits == found.averageBits)
        #expect(found.recipe.layers["conv_in"] == BitWidth(8))
        #expect(found.recipe.layers["conv_out"] == BitWidth(8))
        #expect(found.recipe.layers.count == 258)
        #expect(found.recipe.method == "threshold")
        #expect(found.recipe.cachedSteps == 50)
        #expect(found.recipe.model == table.model)
        #expect(
            try found.recipe.storedBytes
                == StorageModel.fixedFields.storedBytes(
                    recipe: found.recipe, inventory: inventory, timeFeatures: .paper))
    }

    @Test("time features count in the budget")
    func timeFeatures() throws {
        let table = try RandomTables.stableDiffusion15()
        func attainable(_ storage: TimeFeatureStorage) throws -> ClosedRange<Double> {
            try allocateBits(
                table, budget: BitBudget(averageBits: 4, timeFeatures: storage), method: .threshold
            ).attainable
        }
        let none = try attainable(.cached(steps: 0))
        let fifty = try attainable(.cached(steps: 50))
        #expect(abs(fifty.lowerBound - none.lowerBound - 16 * 1_008_000 / 859_077_120) < 1e-12)
        let kept = try attainable(.layersKept)
        #expect(kept.lowerBound > fifty.lowerBound)
        let recipe = try allocateBits(
            table, budget: BitBudget(averageBits: 4, timeFeatures: .layersKept), method: .threshold
        )
        .recipe
        #expect(recipe.cachedSteps == 0)
    }

    @Test("the forecast is for the given container")
    func storage() throws {
        let table = try RandomTables.stableDiffusion15()
        let options = AllocationOptions(storage: StorageModel(bytesPerScale: 2) { count, _ in count })
        let found = try allocateBits(
            table, budget: BitBudget(averageBits: 2), method: .threshold, options: options)
        let inventory = try #require(table.inventory)
        let quantized = inventory.quantizedLayers.reduce(0) { $0 + $1.weights + 2 * $1.outputChannels }
        #expect(found.recipe.storedBytes == quantized + 2 * 1_008_000 + 4 * (443_844 - 22_720))
    }

    @Test("without an inventory the listed layers count as the whole model")
    func noInventory() throws {
        var table = SensitivityTable(layers: [layer("a", weights: 300, mse: [0.3, 0.2, 0.1])])
        table.layers.append(
            LayerSensitivity(path: "conv_in", kind: .conv2d, weights: 100, skewness: 0, bits: [:]))
        let found = try allocateBits(table, budget: BitBudget(averageBits: 4), method: .threshold)
        #expect(!found.countsWholeModel)
        #expect(found.recipe.layers == ["a": BitWidth(2), "conv_in": BitWidth(8)])
        #expect(abs(found.averageBits - (300 * log2(5.0) + 100 * log2(257.0)) / 400) < 1e-12)
        #expect(found.recipe.storedBytes == nil)
        #expect(found.recipe.cachedSteps == nil)
    }

    @Test("an error names a layer of the model that was not measured")
    func missingLayer() throws {
        var table = try RandomTables.stableDiffusion15()
        let removed = table.layers.remove(at: 17)
        #expect(throws: AllocationError.table(.missingLayer(path: removed.path))) {
            try allocateBits(table, budget: BitBudget(averageBits: 2), method: .threshold)
        }
    }

    @Test("a table with a NaN is refused with the path of its layer")
    func notANumber() {
        let table = SensitivityTable(layers: [layer("a", weights: 3, mse: [.nan, 1, 1])])
        let error = #expect(throws: AllocationError.self) {
            try allocateBits(table, budget: BitBudget(averageBits: 2), method: .threshold)
        }
        #expect(error == .table(.nonFinite(path: "a", field: "bits.1.mse", found: "nan")))
    }

    @Test(
        "invalid budgets, steps and exponents are refused",
        arguments: [0, -1, .nan, Double.infinity])
    func invalidOptions(value: Double) {
        let table = SensitivityTable(layers: [layer("a", weights: 3, mse: [1, 1, 1])])
        #expect(throws: AllocationError.self) {
            try allocateBits(table, budget: BitBudget(averageBits: value), method: .threshold)
        }
        #expect(throws: AllocationError.invalidSteps(-1)) {
            try allocateBits(
                table, budget: BitBudget(averageBits: 2, timeFeatures: .cached(steps: -1)), method: .threshold
            )
        }
        #expect(throws: AllocationError.invalidEta(.infinity)) {
            try allocateBits(
                table, budget: BitBudget(averageBits: 2), method: .threshold,
                options: AllocationOptions(eta: .infinity))
        }
    }

    @Test("the error for an infeasible budget has the smallest feasible one")
    func infeasibleText() {
        let error = AllocationError.infeasible(requested: 1.2, minimum: 1.58496, maximum: 4.1)
        #expect(
            error.description
                == "budget: too small: expected at least 1.5850 average bits (useful up to 4.1000), found 1.2000; "
                + "raise the budget or cache fewer steps")
    }
}

@Suite struct ClipBonusTests {
    /// Layers 0...99 with the drops 0...99.
    private func ranked() -> SensitivityTable {
        let layers = (0..<100).map { index in
            layer(LayerID("mid.\(index)"), weights: 10, mse: [3, 2, 1], clipDrop: Double(index))
        }
        return SensitivityTable(layers: layers)
    }

    @Test("the highest tenth gets one bit, the highest twentieth two, the highest fiftieth three")
    func percentiles() throws {
        let found = try allocateBits(ranked(), budget: BitBudget(averageBits: 9), method: .threshold)
        // NumPy's percentiles of 0...99 are 89.1, 94.05 and 97.02.
        for index in 0..<100 {
            let extra = index < 90 ? 0 : index < 95 ? 1 : index < 98 ? 2 : 3
            #expect(found.bonus.bits(for: LayerID("mid.\(index)")) == extra)
            #expect(found.recipe.layers[LayerID("mid.\(index)")] == BitWidth(4 + extra))
        }
    }

    @Test("the bonus counts in the budget")
    func budget() throws {
        let without = try allocateBits(
            ranked(), budget: BitBudget(averageBits: 9), method: .threshold,
            options: AllocationOptions(givesClipBonus: false))
        #expect(without.bonus == .disabled)
        #expect(without.averageBits == log2(17))
        #expect(without.attainable.lowerBound == log2(3))
        let with = try allocateBits(ranked(), budget: BitBudget(averageBits: 2.5), method: .threshold)
        #expect(with.attainable.lowerBound > log2(3) + 0.1)
        #expect(with.averageBits <= 2.5)
    }

    @Test("equal drops give no bonus")
    func equalDrops() throws {
        let table = SensitivityTable(
            layers: ["a", "b", "c"].map { layer($0, weights: 10, mse: [3, 2, 1], clipDrop: 0.25) })
        #expect(
            try allocateBits(table, budget: BitBudget(averageBits: 4), method: .threshold).bonus
                == .given([:]))
    }

    @Test("the bonus is skipped for tables with missing drops")
    func skipped() throws {
        var table = ranked()
        table.layers[4].bits[BitWidth(3)]?.clipDrop = nil
        table.layers[5].bits[BitWidth(3)] = nil
        let found = try allocateBits(table, budget: BitBudget(averageBits: 9), method: .threshold)
        #expect(found.bonus == .skipped(layersWithoutClipDrop: 2))
        #expect(found.averageBits == log2(17))
    }
}
