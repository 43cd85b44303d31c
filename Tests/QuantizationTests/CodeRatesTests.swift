// SPDX-License-Identifier: Apache-2.0
// Rate-distortion curves of weights: entropies and errors against their definitions.

import Foundation
import Recipes
import Tensors
import TestKit
import Testing

@testable import Quantization

@Suite struct CodeRatesTests {
    @Test("the entropy is that of the shares of the symbols")
    func entropy() {
        #expect(CodeRate.entropy([4, 4, 4, 4]) == 2)
        #expect(CodeRate.entropy([7]) == 0 && CodeRate.entropy([]) == 0)
        #expect(abs(CodeRate.entropy([2, 1, 1, 0]) - 1.5) < 1e-15)
    }

    @Test("rate and error are those of the codes and of the dequantized weight")
    func definition() {
        let weight = normal([12, 300], deviation: 0.1)
        for rate in CodeRate.curve(of: weight) {
            let grid = QuantizationGrid(rate.bits).withDeadZone(rate.deadZone)
            let scales = ScaleInitialization.paper.scales(of: weight, grid: grid)
            let codes = GridQuantizer.codes(of: weight, scales: scales, grid: grid)
            let counts = Dictionary(codes.map { ($0, 1) }, uniquingKeysWith: +).values
            let expected = counts.reduce(0.0) { $0 - Double($1) / 3600 * log2(Double($1) / 3600) }
            #expect(abs(rate.entropy - expected) < 1e-12)
            let rounded = GridQuantizer.dequantize(codes, scales: scales, shape: weight.shape)
            func squares(_ values: [Float]) -> Double { values.reduce(0) { $0 + Double($1) * Double($1) } }
            let error = squares((rounded - weight).values) / squares(weight.values)
            #expect(abs(rate.weightError - error) < 1e-6, "\(grid)")
        }
    }

    @Test("dead zones lower the entropy, and at the entropy of rounding to the nearest code, the error")
    func deadZones() throws {
        let curve = CodeRate.curve(of: normal([64, 1000]))
        for (bits, rates) in Dictionary(grouping: curve, by: \.bits) {
            for (a, b) in zip(rates, rates.dropFirst()) {
                #expect(a.deadZone < b.deadZone && a.entropy > b.entropy, "\(bits) bits")
            }
        }
        // Linear between the points around the entropy of three levels.
        let nearest = try #require(curve.first { $0.bits == BitWidth(1) && $0.deadZone == 0.5 })
        let fiveLevels = curve.filter { $0.bits == BitWidth(2) }.sorted { $0.entropy < $1.entropy }
        let above = try #require(fiveLevels.firstIndex { $0.entropy > nearest.entropy })
        try #require(above > 0)
        let (low, high) = (fiveLevels[above - 1], fiveLevels[above])
        let share = (nearest.entropy - low.entropy) / (high.entropy - low.entropy)
        #expect(low.weightError + share * (high.weightError - low.weightError) < 0.97 * nearest.weightError)
    }

    @Test("a layer of zeros has no entropy and no error")
    func zeros() {
        #expect(CodeRate.curve(of: .zeros([3, 5])).allSatisfy { $0.entropy == 0 && $0.weightError == 0 })
    }
}
