// SPDX-License-Identifier: Apache-2.0
// The optimal method on tables: within every budget, never worse than the paper's rule by the same metric, and
// monotone.

import Analyzer
import Foundation
import Networks
import Recipes
import Tensors
import TestKit
import Testing

@testable import BitAllocator

@Suite struct OptimalAllocationTests {
    private func allocate(
        _ table: SensitivityTable, _ limit: BudgetLimit, _ method: AllocationMethod = .optimal,
        options: AllocationOptions = AllocationOptions(givesClipBonus: false)
    ) throws -> BitAllocation {
        try allocateBits(table, budget: BitBudget(limit), method: method, options: options)
    }

    @Test(
        "a recipe for Stable Diffusion v1.5 is within 0.001 bits of the budget, has the smallest error, and is proven",
        arguments: [1.7, 1.99, 2.5, 3.0])
    func stableDiffusion15(budget: Double) throws {
        for seed in 1...3 {
            let table = try RandomTables.stableDiffusion15(seed: UInt64(seed))
            let optimal = try allocate(table, .averageBits(budget))
            let rule = try allocate(table, .averageBits(budget), .threshold)
            #expect(optimal.averageBits <= budget && optimal.averageBits > budget - 0.001)
            #expect(optimal.lowerBound == optimal.predictedError)
            #expect(try #require(optimal.predictedError) <= #require(rule.predictedError))
            #expect(optimal.recipe.method == "optimal" && optimal.threshold == nil)
            let inventory = try #require(table.inventory)
            let size = try SizeAccounting(
                recipe: optimal.recipe, inventory: inventory, timeFeatures: .paper)
            #expect(size.averageBits == optimal.averageBits)
        }
    }

    @Test("a larger budget never increases the error, and no average exceeds its budget", arguments: 0..<100)
    func monotone(seed: UInt64) throws {
        let table = RandomTables.small(seed: seed)
        var last = Double.infinity
        for step in 0...40 {
            let budget = 1.2 + Double(step) * 0.17
            do {
                let found = try allocate(table, .averageBits(budget))
                let error = try #require(found.predictedError)
                #expect(error <= last && found.averageBits <= budget)
                #expect(found.lowerBound == error)
                last = error
            } catch AllocationError.infeasible(_, let minimum, _) {
                #expect(minimum > budget && last == .infinity)
            }
        }
    }

    @Test("a budget that a recipe meets exactly is feasible", arguments: 0..<50)
    func exact(seed: UInt64) throws {
        let table = RandomTables.small(seed: seed)
        let rule = try allocate(table, .averageBits(3), .threshold)
        let optimal = try allocate(table, .averageBits(rule.averageBits))
        #expect(optimal.averageBits <= rule.averageBits)
        #expect(try #require(optimal.predictedError) <= #require(rule.predictedError) + 1e-15)
    }

    @Test("both methods keep a budget in bytes exactly")
    func bytes() throws {
        let table = try RandomTables.stableDiffusion15()
        for bytes in [215_000_000, 260_000_000, 400_000_000] {
            var errors: [Double] = []
            for method in AllocationMethod.allCases {
                let found = try allocate(table, .storedBytes(bytes), method)
                let stored = try #require(found.recipe.storedBytes)
                #expect(stored <= bytes)
                // 0.001 bits of each weight.
                if method == .optimal { #expect(stored > bytes - 859_077_120 / 8000) }
                errors.append(try #require(found.predictedError))
            }
            #expect(errors[1] <= errors[0])
        }
        let error = #expect(throws: AllocationError.self) { try allocate(table, .storedBytes(1000)) }
        guard case .infeasibleSize(1000, let least, let most)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(try allocate(table, .storedBytes(least)).recipe.storedBytes == least)
        #expect(throws: AllocationError.self) { try allocate(table, .storedBytes(least - 1)) }
        #expect(try allocate(table, .storedBytes(most)).recipe.storedBytes == most)
        #expect(try allocate(table, .storedBytes(2 * most)).recipe.storedBytes == most)
    }

    @Test("a PSNR budget is met with the fewest bits")
    func psnr() throws {
        let table = try RandomTables.stableDiffusion15()
        for method in AllocationMethod.allCases {
            let found = try allocate(table, .psnr(2), method)
            #expect(try #require(found.predictedPSNR) >= 2)
            if method == .optimal {
                // With fewer bits the error is larger than allowed.
                let less = try allocate(table, .averageBits(found.averageBits - 1e-4))
                #expect(try #require(less.predictedPSNR) < 2)
            }
        }
        #expect(throws: AllocationError.self) { try allocate(table, .psnr(150)) }
        #expect(throws: AllocationError.psnrNeedsImages(.noise)) {
            var other = table
            for index in other.layers.indices {
                for bits in other.layers[index].bits.keys { other.layers[index].bits[bits]?.noise = 1 }
            }
            _ = try allocate(other, .psnr(2), options: AllocationOptions(metric: .noise))
        }
    }

    @Test("the error of the fixed layers counts and limits the reachable PSNR") func fixedLayers() throws {
        var table = SensitivityTable(layers: [layer("a", weights: 1000, mse: [0.4, 0.1, 0.02])])
        table.layers.append(
            LayerSensitivity(
                path: "conv_out", kind: .conv2d, weights: 10, skewness: 0,
                bits: [.firstAndLast: SensitivityScores(mse: 0.01)]))
        let found = try allocate(table, .averageBits(2.5), options: AllocationOptions())
        #expect(found.recipe.layers["a"] == BitWidth(2) && found.predictedError == 0.1 + 0.01)
        #expect(found.lowerBound == found.predictedError)
        #expect(try allocate(table, .psnr(15)).recipe.layers["a"] == BitWidth(3))
        // conv_out alone leaves 20 dB.
        let error = #expect(throws: AllocationError.self) { try allocate(table, .psnr(20)) }
        guard case .infeasiblePSNR(20, let most)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(most < 20 && most > 19.9)
    }

    @Test("pinned layers keep their bits, the later pin counts, and no layer exceeds the maximum")
    func pins() throws {
        let table = try RandomTables.stableDiffusion15()
        for method in AllocationMethod.allCases {
            let options = AllocationOptions(
                pins: [
                    LayerPin(pattern: "attn2\\.to_[kv]$", bits: BitWidth(4)),
                    LayerPin(pattern: "^mid_block.*to_k$", bits: BitWidth(2)),
                ], maximumBits: BitWidth(3))
            let found = try allocate(table, .averageBits(2.4), method, options: options)
            for (path, bits) in found.recipe.layers where UNetLayerPolicy().role(ofLayer: path.rawValue) == .searched {
                let name = path.rawValue
                if name.hasPrefix("mid_block") && name.hasSuffix("to_k") {
                    #expect(bits == BitWidth(2))
                } else if name.hasSuffix("attn2.to_k") || name.hasSuffix("attn2.to_v") {
                    #expect(bits == BitWidth(4))
                } else {
                    #expect(bits <= BitWidth(3))
                }
            }
        }
        #expect(throws: AllocationError.pinnedNothing("^conv_in$")) {
            try allocate(
                table, .averageBits(2),
                options: AllocationOptions(pins: [LayerPin(pattern: "^conv_in$", bits: BitWidth(2))]))
        }
        #expect(throws: AllocationError.pattern("(")) {
            try allocate(
                table, .averageBits(2),
                options: AllocationOptions(pins: [LayerPin(pattern: "(", bits: BitWidth(2))]))
        }
    }

    @Test("each bit beyond the measured ones divides the error by 4, and such layers are listed")
    func extrapolation() throws {
        let table = SensitivityTable(layers: [
            layer("a", weights: 10, mse: [16, 4, 1]), layer("b", weights: 1000, mse: [3, 2, 1]),
        ])
        let found = try allocate(table, .averageBits(1.70))
        #expect(found.recipe.layers["b"] == BitWidth(1))
        #expect(found.recipe.layers["a"].map { $0 > BitWidth(3) } == true)
        #expect(found.extrapolated == ["a"])
        let bits = try #require(found.recipe.layers["a"])
        #expect(found.predictedError == pow(4, -Double(bits.rawValue - 3)) + 3)
    }

    @Test("mse+clip gives both scores equal weight and clamps negative drops")
    func mseAndClip() throws {
        var layers = [layer("a", weights: 10, mse: [4, 2, 1]), layer("b", weights: 10, mse: [4, 2, 1])]
        for (index, drops) in [[-0.5, -0.5, -0.5], [0.3, 0.2, 0.1]].enumerated() {
            for (bits, drop) in drops.enumerated() {
                layers[index].bits[BitWidth(bits + 1)]?.clipDrop = drop
            }
        }
        let options = AllocationOptions(metric: .mseAndClip, maximumBits: BitWidth(3))
        let found = try allocate(
            SensitivityTable(layers: layers), .averageBits(2.2), options: options)
        #expect(found.recipe.layers == ["a": BitWidth(1), "b": BitWidth(2)])
        // Mean squared error 7/3, mean drop 0.1.
        let expected = (4 + 2) / (7.0 / 3) + 0.2 / 0.1
        #expect(abs(try #require(found.predictedError) - expected) < 1e-12)
    }
}
