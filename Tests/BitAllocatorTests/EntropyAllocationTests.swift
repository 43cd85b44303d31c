// SPDX-License-Identifier: Apache-2.0
// The method `entropy`: the best choice of grids and dead zones where weights cost the entropy of their codes.

import Foundation
import Recipes
import TestKit
import Testing

@testable import BitAllocator

@Suite struct EntropyAllocationTests {
    private func allocate(
        _ table: SensitivityTable, _ limit: BudgetLimit, options: AllocationOptions = AllocationOptions()
    ) throws -> BitAllocation {
        try allocateBits(table, budget: BitBudget(limit), method: .entropy, options: options)
    }

    /// The rates and errors of the grids that a recipe chooses.
    private func chosen(_ found: BitAllocation, _ table: SensitivityTable) throws -> [(
        layer: LayerSensitivity, rate: CodeRate
    )] {
        try table.layers.map { layer in
            let bits = try #require(found.recipe.layers[layer.path])
            let deadZone = found.recipe.deadZones[layer.path] ?? 0.5
            return (layer, try #require(layer.rates.first { $0.bits == bits && $0.deadZone == deadZone }))
        }
    }

    /// The error of a layer, proportional to that of its weights.
    private func proportional(_ path: LayerID, weights: Int, error: Double) -> LayerSensitivity {
        var row = layer(path, weights: weights, mse: [1, 1, 1])
        for bits in row.bits.keys {
            let rate = row.rates.first { $0.bits == bits && $0.deadZone == 0.5 }
            row.bits[bits]?.mse = error * (rate?.weightError ?? 0)
        }
        return row
    }

    @Test("no other choice of grids within the budget has a smaller error", arguments: [0.8, 1.3, 1.9, 2.6])
    func bruteForce(budget: Double) throws {
        let table = SensitivityTable(layers: [
            proportional("a", weights: 100, error: 5), proportional("b", weights: 400, error: 1),
            proportional("c", weights: 50, error: 0.02),
        ])
        let found = try allocate(table, .averageBits(budget))
        var smallest = Double.infinity
        for first in table.layers[0].rates {
            for second in table.layers[1].rates {
                for third in table.layers[2].rates {
                    let rates = [first, second, third]
                    let bits = zip(table.layers, rates).reduce(0) { $0 + Double($1.0.weights) * $1.1.entropy }
                    guard bits / 550 <= budget else { continue }
                    smallest = min(
                        smallest,
                        zip([5, 1, 0.02], rates).reduce(0) { $0 + $1.0 * $1.1.weightError })
                }
            }
        }
        #expect(abs(try #require(found.predictedError) - smallest) < 1e-12)
        #expect(found.lowerBound == found.predictedError)
        let spent = try chosen(found, table).reduce(0) { $0 + Double($1.layer.weights) * $1.rate.entropy }
        let entropy = try #require(found.entropyBits)
        #expect(abs(entropy - spent / 550) < 1e-12 && entropy <= budget)
    }

    @Test(
        "the error follows that of the weights: log-linear between measured bits, proportional beyond them",
        arguments: [(1, 0.8), (2, 0.7), (2, 0.6), (1, 0.5), (4, 0.6)] as [(Int, Float)])
    func errors(bits: Int, deadZone: Float) throws {
        var row = layer("a", weights: 10, mse: [0.8, 0.05])
        let rate = try #require(row.rates.first { $0.bits == BitWidth(bits) && $0.deadZone == deadZone })
        // The bits that were measured, of which none can be chosen: they cost more than the budget.
        let measured = row.rates.filter { $0.deadZone == 0.5 && $0.bits <= BitWidth(2) && $0 != rate }
        row.rates =
            measured.map {
                CodeRate(bits: $0.bits, deadZone: 0.5, entropy: $0.bits.effectiveBits, weightError: $0.weightError)
            } + [CodeRate(bits: rate.bits, deadZone: deadZone, entropy: 0.5, weightError: rate.weightError)]
        let found = try allocate(SensitivityTable(layers: [row]), .averageBits(0.5))
        let expected: Double
        switch rate.weightError {
        case 0.25...: expected = 0.8 * rate.weightError / 0.25
        case 0.0625..<0.25: expected = 0.05 * pow(16, log(rate.weightError / 0.0625) / log(4))
        default: expected = 0.05 * rate.weightError / 0.0625
        }
        #expect(abs(try #require(found.predictedError) - expected) < 1e-12)
        #expect(found.extrapolated == ((0.0625...0.25).contains(rate.weightError) ? [] : ["a"]))
    }

    @Test(
        "a recipe for Stable Diffusion v1.5 meets its budget, and at equal entropy none by levels is better"
    )
    func stableDiffusion15() throws {
        let table = try RandomTables.stableDiffusion15()
        for budget in [1.2, 1.6, 1.99] {
            let found = try allocate(table, .averageBits(budget))
            let entropy = try #require(found.entropyBits)
            #expect(entropy <= budget && entropy > budget - 0.001 && found.averageBits > entropy)
            #expect(found.recipe.entropyBits == entropy && found.recipe.averageBits == found.averageBits)
            #expect(found.recipe.method == "entropy" && !found.recipe.deadZones.isEmpty)
            #expect(found.lowerBound == found.predictedError)
        }
        let byLevels = try allocateBits(table, budget: BitBudget(averageBits: 1.99))
        let byEntropy = try allocate(table, .averageBits(#require(byLevels.entropyBits)))
        #expect(try #require(byEntropy.predictedError) < #require(byLevels.predictedError))
        let stored = try #require(byEntropy.recipe.storedBytes)
        let bytes = try allocate(table, .storedBytes(stored - 1_000_000))
        #expect(try #require(bytes.recipe.storedBytes) <= stored - 1_000_000)
    }

    @Test("layers without a curve are named")
    func missingRates() throws {
        var table = SensitivityTable(layers: [layer("a", weights: 10, mse: [1, 0.2, 0.1])])
        table.layers[0].rates = []
        #expect(throws: AllocationError.missingRates(path: "a")) { try allocate(table, .averageBits(2)) }
        #expect(AllocationError.missingRates(path: "a").description.contains("analyze the model again"))
        #expect(try allocationCurve(table).entropy.isEmpty)
    }

    @Test("errors that are not finite are refused")
    func notFinite() throws {
        var row = layer("a", weights: 10, mse: [1, 2])
        row.rates = [
            CodeRate(bits: BitWidth(1), deadZone: 0.5, entropy: 1.5, weightError: 1e10),
            CodeRate(bits: BitWidth(2), deadZone: 0.5, entropy: 2, weightError: 1e-300),
            CodeRate(bits: BitWidth(1), deadZone: 0.6, entropy: 1, weightError: 1e9),
        ]
        let table = SensitivityTable(layers: [row])
        #expect(throws: AllocationError.scoresTooLarge) { try allocate(table, .averageBits(2)) }
        row.rates[2] = row.rates[1]
        #expect(throws: AllocationError.self) { try allocate(SensitivityTable(layers: [row]), .averageBits(2)) }
    }

    @Test("pins and the most bits hold, and pinned layers have no dead zone")
    func pins() throws {
        let table = SensitivityTable(layers: [
            proportional("a", weights: 100, error: 5), proportional("b", weights: 400, error: 1),
        ])
        let options = AllocationOptions(pins: [LayerPin(pattern: "^b$", bits: BitWidth(2))], maximumBits: BitWidth(1))
        let found = try allocate(table, .averageBits(2.4), options: options)
        #expect(found.recipe.layers == ["a": BitWidth(1), "b": BitWidth(2)] && found.recipe.deadZones["b"] == nil)
        // The synthetic curves have 1 to 6 bits.
        let beyond = AllocationOptions(pins: [LayerPin(pattern: "^b$", bits: BitWidth(8))])
        #expect(throws: AllocationError.self) { try allocate(table, .averageBits(9), options: beyond) }
        #expect(try allocationCurve(table, options: beyond).entropy.isEmpty)
    }
}
