// SPDX-License-Identifier: Apache-2.0
// Which measure widths are chosen by, and what is said where a table lacks it.

import Recipes
import Testing

@testable import BitAllocator

@Suite struct AllocationMetricTests {
    private let budget = BitBudget(averageBits: 2.0, timeFeatures: .layersKept)

    private func options(_ sensitivity: AllocationMetric?) -> AllocationOptions {
        AllocationOptions(metric: sensitivity, givesClipBonus: false)
    }

    @Test("the same sensitivities give the same recipe, by whichever measure they are", arguments: 0..<20)
    func sameByAnyName(seed: UInt64) throws {
        let images = RandomTables.small(seed: seed)
        let expected = try allocateBits(
            images, budget: BitBudget(averageBits: 4.2), method: .threshold, options: options(.mse))
        for sensitivity in [AllocationMetric.mse, .noise, .fisher] {
            var table = images
            for index in table.layers.indices {
                for (width, measure) in table.layers[index].bits {
                    var other = SensitivityScores(psnr: 3)
                    other[sensitivity.metrics[0]] = measure.mse
                    table.layers[index].bits[width] = other
                }
            }
            for asked in [sensitivity, nil] {
                let found = try allocateBits(
                    table, budget: BitBudget(averageBits: 4.2), method: .threshold, options: options(asked))
                #expect(
                    found.recipe.layers == expected.recipe.layers && found.threshold == expected.threshold)
                #expect(found.metric == sensitivity && found.recipe.metric == sensitivity.rawValue)
            }
        }
    }

    /// Two layers whose order by `mse` is the reverse of that by `noise` and `fisher`.
    private var disagreeing: SensitivityTable {
        var layers = [
            layer("a", weights: 10, mse: [3, 2, 1]), layer("b", weights: 10, mse: [0.3, 0.2, 0.1]),
        ]
        for (index, scale) in [1.0, 10].enumerated() {
            for width in [1, 2, 3] {
                layers[index].bits[BitWidth(width)]?.noise = scale / Double(width)
                layers[index].bits[BitWidth(width)]?.fisher = scale / Double(width * width)
            }
        }
        return SensitivityTable(layers: layers)
    }

    @Test("the measure decides which layer is narrow, and noise comes first")
    func decides() throws {
        func wider(_ sensitivity: AllocationMetric?) throws -> LayerID? {
            try allocateBits(disagreeing, budget: budget, method: .threshold, options: options(sensitivity)).recipe
                .layers
                .max { $0.value < $1.value }?.key
        }
        #expect(try wider(.mse) == "a")
        #expect(try wider(nil) == "b")
        #expect(try wider(.noise) == "b")
        #expect(try wider(.fisher) == "b")
    }

    @Test("a measure that some width lacks is passed over by default, and named where asked for")
    func missing() throws {
        var table = disagreeing
        table.layers[1].bits[BitWidth(2)]?.noise = nil
        #expect(
            try allocateBits(table, budget: budget, method: .threshold, options: options(nil)).metric == .mse)
        let error = AllocationError.missingSensitivity(path: "b", width: BitWidth(2), measure: .noise)
        #expect(throws: error) {
            try allocateBits(table, budget: budget, method: .threshold, options: options(.noise))
        }
        #expect(
            error.description
                == "b: bits.2.noise: expected a number, found none; analyze this layer by that measure, or allocate by "
                + "another --sensitivity")
    }

    @Test("where no measure is complete, the gap of the first that there is at all is named")
    func noneComplete() {
        let table = SensitivityTable(layers: [
            layer("a", weights: 10, mse: [3, 2, 1], metric: .fisher),
            layer("b", weights: 10, mse: [3, 2, 1], metric: .perceptual),
        ])
        #expect(
            throws: AllocationError.missingSensitivity(path: "b", width: BitWidth(1), measure: .fisher)
        ) { try allocateBits(table, budget: budget, method: .threshold, options: options(nil)) }
    }
}
