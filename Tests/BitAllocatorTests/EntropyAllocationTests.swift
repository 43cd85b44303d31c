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
        #expect(abs(found.averageBits - spent / 550) < 1e-12 && found.averageBits <= budget)
    }

    @Test("the error follows that of the weights: log-linear between measured bits, proportional beyond them")
    func errors() throws {
        var row = layer("a", weights: 10, mse: [0.8, 0.05])
        row.bits[BitWidth(3)] = nil
        for deadZone in [Float(0.5), 0.6, 0.7, 0.8] {
            for bits in [1, 2, 4] {
                var only = row
                // The bits that were measured, and the one grid to choose.
                only.rates = row.rates.filter {
                    $0.deadZone == 0.5 && $0.bits <= BitWidth(2)
                        || $0.bits == BitWidth(bits) && $0.deadZone == deadZone
                }
                let rate = try #require(only.rates.first { $0.bits == BitWidth(bits) && $0.deadZone == deadZone })
                let found = try allocate(
                    SensitivityTable(layers: [only]), .averageBits(rate.entropy),
                    options: AllocationOptions())
                guard try chosen(found, SensitivityTable(layers: [only]))[0].rate == rate else { continue }
                let expected: Double
                switch rate.weightError {
                case 0.25...: expected = 0.8 * rate.weightError / 0.25
                case 0.0625..<0.25:
                    let share = log(rate.weightError / 0.0625) / log(4)
                    expected = 0.05 * pow(16, share)
                default: expected = 0.05 * rate.weightError / 0.0625
                }
                #expect(abs(try #require(found.predictedError) - expected) < 1e-12, "\(bits), \(deadZone)")
            }
        }
    }

    @Test("a recipe for Stable Diffusion v1.5 meets budgets in bits, bytes and dB, and none with levels is better")
    func stableDiffusion15() throws {
        let table = try RandomTables.stableDiffusion15()
        for budget in [1.2, 1.6, 1.99] {
            let found = try allocate(table, .averageBits(budget))
            #expect(found.averageBits <= budget && found.averageBits > budget - 0.001)
            #expect(found.recipe.averageBits == found.averageBits && found.recipe.method == "entropy")
            #expect(found.lowerBound == found.predictedError && !found.recipe.deadZones.isEmpty)
            #expect(found.extrapolated.isEmpty)
        }
        let byLevels = try allocateBits(table, budget: BitBudget(averageBits: 1.99))
        let byEntropy = try allocate(table, .averageBits(1.99))
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

    @Test("pins and the most bits hold, and pinned layers have no dead zone")
    func pins() throws {
        let table = SensitivityTable(layers: [
            proportional("a", weights: 100, error: 5), proportional("b", weights: 400, error: 1),
        ])
        let options = AllocationOptions(pins: [LayerPin(pattern: "^b$", bits: BitWidth(2))], maximumBits: BitWidth(1))
        let found = try allocate(table, .averageBits(2.4), options: options)
        #expect(found.recipe.layers == ["a": BitWidth(1), "b": BitWidth(2)] && found.recipe.deadZones["b"] == nil)
    }
}
