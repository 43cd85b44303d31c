// SPDX-License-Identifier: Apache-2.0
// The metric by which bits are chosen, and the error if a table lacks it.

import Recipes
import Testing

@testable import BitAllocator

@Suite struct AllocationMetricTests {
    private let budget = BitBudget(averageBits: 2.0, timeFeatures: .layersKept)

    private func options(_ metric: AllocationMetric?) -> AllocationOptions {
        AllocationOptions(metric: metric, givesClipBonus: false)
    }

    @Test("the same scores give the same recipe under every metric", arguments: 0..<20)
    func sameByAnyName(seed: UInt64) throws {
        let images = RandomTables.small(seed: seed)
        let expected = try allocateBits(
            images, budget: BitBudget(averageBits: 4.2), method: .threshold, options: options(.mse))
        for metric in [AllocationMetric.mse, .noise, .fisher] {
            var table = images
            for index in table.layers.indices {
                for (bits, scores) in table.layers[index].bits {
                    var other = SensitivityScores(psnr: 3)
                    other[metric.metrics[0]] = scores.mse
                    table.layers[index].bits[bits] = other
                }
            }
            for requested in [metric, nil] {
                let found = try allocateBits(
                    table, budget: BitBudget(averageBits: 4.2), method: .threshold, options: options(requested))
                #expect(
                    found.recipe.layers == expected.recipe.layers && found.threshold == expected.threshold)
                #expect(found.metric == metric && found.recipe.metric == metric.rawValue)
            }
        }
    }

    /// Two layers whose order by `mse` is the reverse of that by `noise` and `fisher`.
    private var disagreeing: SensitivityTable {
        var layers = [
            layer("a", weights: 10, mse: [3, 2, 1]), layer("b", weights: 10, mse: [0.3, 0.2, 0.1]),
        ]
        for (index, scale) in [1.0, 10].enumerated() {
            for bits in [1, 2, 3] {
                layers[index].bits[BitWidth(bits)]?.noise = scale / Double(bits)
                layers[index].bits[BitWidth(bits)]?.fisher = scale / Double(bits * bits)
            }
        }
        return SensitivityTable(layers: layers)
    }

    @Test("the metric decides which layer gets more bits, and noise is the default")
    func decides() throws {
        func layerWithMoreBits(_ metric: AllocationMetric?) throws -> LayerID? {
            try allocateBits(disagreeing, budget: budget, method: .threshold, options: options(metric)).recipe
                .layers
                .max { $0.value < $1.value }?.key
        }
        #expect(try layerWithMoreBits(.mse) == "a")
        #expect(try layerWithMoreBits(nil) == "b")
        #expect(try layerWithMoreBits(.noise) == "b")
        #expect(try layerWithMoreBits(.fisher) == "b")
    }

    @Test("an incomplete metric is skipped by default, and the missing score is named if it is requested")
    func missing() throws {
        var table = disagreeing
        table.layers[1].bits[BitWidth(2)]?.noise = nil
        #expect(
            try allocateBits(table, budget: budget, method: .threshold, options: options(nil)).metric == .mse)
        let error = AllocationError.missingScore(path: "b", bits: BitWidth(2), metric: .noise)
        #expect(throws: error) {
            try allocateBits(table, budget: budget, method: .threshold, options: options(.noise))
        }
        #expect(
            error.description
                == "b: bits.2.noise: expected a number, found none; analyze this layer by that metric, or allocate by "
                + "another --metric")
    }

    @Test("without a complete metric the missing score of the first available metric is named")
    func noneComplete() {
        let table = SensitivityTable(layers: [
            layer("a", weights: 10, mse: [3, 2, 1], metric: .fisher),
            layer("b", weights: 10, mse: [3, 2, 1], metric: .perceptual),
        ])
        #expect(
            throws: AllocationError.missingScore(path: "b", bits: BitWidth(1), metric: .fisher)
        ) { try allocateBits(table, budget: budget, method: .threshold, options: options(nil)) }
    }
}
