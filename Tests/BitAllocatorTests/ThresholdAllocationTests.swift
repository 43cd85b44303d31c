// SPDX-License-Identifier: Apache-2.0

import Foundation
import Recipes
import Testing

@testable import BitAllocator

@Suite struct ThresholdAllocationTests {
    /// The rule as in the paper, over all thresholds that lead to different recipes.
    private func bruteForce(_ table: SensitivityTable, budget: Double, eta: Double, bonus: ClipBonus)
        -> Double?
    {
        func score(_ layer: LayerSensitivity, _ bits: Int) -> Double {
            (layer.bits[BitWidth(bits)]?.mse ?? .nan) * pow(Double(layer.weights), -eta)
        }
        let total = Double(table.layers.reduce(0) { $0 + $1.weights })
        let limits = table.layers.flatMap { layer in (1...3).map { score(layer, $0) } } + [Double.infinity]
        let averages = limits.map { limit in
            table.layers.reduce(0.0) { sum, layer in
                let bits = (1...3).first { score(layer, $0) < limit } ?? 4
                let levels = pow(2, Double(bits + bonus.bits(for: layer.path))) + 1
                return sum + log2(levels) * Double(layer.weights)
            } / total
        }
        return averages.filter { $0 <= budget }.max()
    }

    @Test("the threshold search finds the result of brute force", arguments: 0..<200)
    func bruteForce(seed: UInt64) throws {
        let table = RandomTables.small(seed: seed)
        var random = SeededGenerator(state: seed ^ 0xF00D)
        for eta in [0, 0.3, 1] {
            let options = AllocationOptions(eta: eta)
            for _ in 0..<10 {
                let budget = Double.random(in: 1.2...6, using: &random)
                do {
                    let found = try allocateBits(
                        table, budget: BitBudget(averageBits: budget), method: .threshold, options: options)
                    let best = try #require(bruteForce(table, budget: budget, eta: eta, bonus: found.bonus))
                    #expect(found.averageBits <= budget)
                    // The two sums run in another order: at most a few roundings of 2^-53 apart.
                    #expect(abs(found.averageBits - best) < 1e-12)
                } catch AllocationError.infeasible(let requested, let minimum, _) {
                    #expect(requested == budget)
                    #expect(minimum > budget)
                    let bonus = try allocateBits(
                        table, budget: BitBudget(averageBits: 9), method: .threshold, options: options
                    )
                    .bonus
                    #expect(bruteForce(table, budget: budget, eta: eta, bonus: bonus) == nil)
                }
            }
        }
    }

    @Test("every layer has the fewest bits with a sensitivity below the threshold", arguments: 0..<50)
    func rule(seed: UInt64) throws {
        let table = RandomTables.small(seed: seed)
        let attainable = try allocateBits(table, budget: BitBudget(averageBits: 9), method: .threshold)
            .attainable
        for step in 0...20 {
            let span = attainable.upperBound - attainable.lowerBound
            let budget = attainable.lowerBound + span * Double(step) / 20
            let found = try allocateBits(table, budget: BitBudget(averageBits: budget), method: .threshold)
            let limit = try #require(found.threshold)
            for layer in table.layers {
                let scores = (1...3).map {
                    (layer.bits[BitWidth($0)]?.mse ?? .nan) * pow(Double(layer.weights), -0.3)
                }
                let expected = (scores.firstIndex { $0 < limit } ?? 3) + 1
                #expect(
                    found.recipe.layers[layer.path]?.rawValue == expected + found.bonus.bits(for: layer.path))
            }
        }
    }

    @Test("a larger budget never reduces the bits of a layer", arguments: 0..<50)
    func monotone(seed: UInt64) throws {
        let table = RandomTables.small(seed: seed)
        var previous: BitAllocation?
        for step in 0...60 {
            let budget = BitBudget(averageBits: 1.5 + Double(step) * 0.08)
            guard let found = try? allocateBits(table, budget: budget, method: .threshold) else {
                #expect(previous == nil)
                continue
            }
            if let previous {
                #expect(previous.averageBits <= found.averageBits)
                for (path, bits) in previous.recipe.layers {
                    #expect(try bits <= #require(found.recipe.layers[path]))
                }
            }
            previous = found
        }
        #expect(previous != nil)
    }

    @Test("the smallest and the largest average are reached, and nothing below the smallest")
    func ends() throws {
        let table = RandomTables.small(seed: 3)
        let all = try allocateBits(table, budget: BitBudget(averageBits: 100), method: .threshold)
        #expect(all.averageBits == all.attainable.upperBound)
        let least = try allocateBits(
            table, budget: BitBudget(averageBits: all.attainable.lowerBound), method: .threshold)
        #expect(least.averageBits == all.attainable.lowerBound)
        #expect(
            throws: AllocationError.infeasible(
                requested: all.attainable.lowerBound.nextDown, minimum: all.attainable.lowerBound,
                maximum: all.attainable.upperBound)
        ) {
            try allocateBits(
                table, budget: BitBudget(averageBits: all.attainable.lowerBound.nextDown), method: .threshold)
        }
    }

    @Test("layers with equal sensitivities get equal bits, also if only some would fit")
    func ties() throws {
        let table = SensitivityTable(
            layers: ["a", "b", "c"].map { layer($0, weights: 100, mse: [0.5, 0.2, 0.1]) })
        let found = try allocateBits(table, budget: BitBudget(averageBits: 2), method: .threshold)
        #expect(Set(found.recipe.layers.values) == [BitWidth(1)])
        #expect(found.averageBits == log2(3))
        let wider = try allocateBits(table, budget: BitBudget(averageBits: 2.4), method: .threshold)
        #expect(Set(wider.recipe.layers.values) == [BitWidth(2)])
    }

    @Test("scores of 0 are accepted")
    func zeroSensitivity() throws {
        let table = SensitivityTable(layers: [
            layer("a", weights: 10, mse: [0, 0, 0]), layer("b", weights: 10, mse: [1, 0.5, 0.25]),
        ])
        let found = try allocateBits(table, budget: BitBudget(averageBits: 3), method: .threshold)
        #expect(found.recipe.layers == ["a": BitWidth(1), "b": BitWidth(4)])
        let same = SensitivityTable(layers: [layer("a", weights: 10, mse: [0, 0, 0])])
        #expect(
            try allocateBits(same, budget: BitBudget(averageBits: 2), method: .threshold).recipe.layers == [
                "a": BitWidth(1)
            ])
        #expect(
            try allocateBits(same, budget: BitBudget(averageBits: 5), method: .threshold).recipe.layers == [
                "a": BitWidth(4)
            ])
    }

    @Test("eta gives large layers fewer bits")
    func eta() throws {
        let table = SensitivityTable(layers: [
            layer("large", weights: 100_000, mse: [0.3, 0.2, 0.1]),
            layer("small", weights: 100, mse: [0.2, 0.1, 0.05]),
        ])
        let budget = BitBudget(averageBits: 1.6)
        let found = try allocateBits(table, budget: budget, method: .threshold).recipe.layers
        #expect(found == ["large": BitWidth(1), "small": BitWidth(4)])
        let ignored = try allocateBits(
            table, budget: budget, method: .threshold, options: AllocationOptions(eta: 0)
        ).recipe
            .layers
        #expect(ignored == ["large": BitWidth(1), "small": BitWidth(1)])
    }

    @Test("the order of the layers in the table does not matter", arguments: 0..<20)
    func order(seed: UInt64) throws {
        let table = RandomTables.small(seed: seed)
        var shuffled = table
        var random = SeededGenerator(state: seed)
        shuffled.layers.shuffle(using: &random)
        let budget = BitBudget(averageBits: 4.5)
        #expect(
            try allocateBits(table, budget: budget, method: .threshold)
                == allocateBits(shuffled, budget: budget, method: .threshold))
    }

    @Test("unmeasured bits are not chosen")
    func missingWidths() throws {
        var only = layer("a", weights: 10, mse: [0.3, 0.2, 0.1])
        only.bits[BitWidth(1)] = nil
        only.bits[BitWidth(3)] = nil
        let table = SensitivityTable(layers: [only])
        #expect(
            try allocateBits(table, budget: BitBudget(averageBits: 2.4), method: .threshold).recipe.layers
                == ["a": BitWidth(2)])
        #expect(
            try allocateBits(table, budget: BitBudget(averageBits: 9), method: .threshold).recipe.layers == [
                "a": BitWidth(4)
            ])
        only.bits = [BitWidth(5): SensitivityScores(mse: 0)]
        #expect(
            throws: AllocationError.unmeasuredLayer(
                path: "a", bits: [BitWidth(1), BitWidth(2), BitWidth(3)])
        ) {
            try allocateBits(
                SensitivityTable(layers: [only]), budget: BitBudget(averageBits: 9), method: .threshold)
        }
    }
}
