// SPDX-License-Identifier: Apache-2.0
// Initial scales: the alternating optimisation against its definition, its promises, and awkward channels.

import Recipes
import Tensors
import TestKit
import Testing

@testable import Quantization

@Suite struct ScaleInitializationTests {
    /// Eight channels of 300 normal weights, with a few outliers in the odd ones.
    private static let weights: Tensor = {
        let weights = normal([8, 300], deviation: 0.04, stream: 3)
        weights.withUnsafeMutableBufferPointer { values in
            for channel in stride(from: 1, to: 8, by: 2) {
                values[channel * 300] = 0.3
                values[channel * 300 + 7] = -0.25
            }
        }
        return weights
    }()

    /// ‖s·q − w‖² per channel, in Double.
    private func errors(_ weights: Tensor, _ scales: Tensor, _ grid: QuantizationGrid) -> [Double] {
        zip(weights.rows, scales.values).map { NaiveChannel($0, grid).error(Double($1)) }
    }

    @Test("min-max puts the largest weight on the end of the grid", arguments: BitWidth.all)
    func minMax(bits: BitWidth) {
        let grid = QuantizationGrid(bits)
        let scales = ScaleInitialization.minMax.scales(of: Self.weights, grid: grid)
        expectClose(
            scales.values, Self.weights.rows.map { NaiveChannel($0, grid).minMaxScale }, .oneRounding)
        let codes = GridQuantizer.codes(of: Self.weights, scales: scales, grid: grid)
        for channel in 0..<8 {
            let largest = codes[channel * 300..<(channel + 1) * 300].map { abs($0) }.max()
            #expect(largest == Int16(grid.maximumCode))
        }
    }

    @Test("alternating scales are those of the definition in Double", arguments: BitWidth.all)
    func definition(bits: BitWidth) {
        let grid = QuantizationGrid(bits)
        for rounds in [0, 1, 2, 10] {
            let scales = ScaleInitialization.alternating(rounds: rounds).scales(of: Self.weights, grid: grid)
            let expected = Self.weights.rows.map { NaiveChannel($0, grid).alternatingScale(rounds: rounds) }
            // Sums of 300 products in Float32, and a scale that is one rounding away.
            expectClose(
                scales.values, expected, Tolerance(absolute: 0, relative: 1e-5), "\(rounds) rounds")
        }
        #expect(ScaleInitialization.paper == .alternating(rounds: 10))
    }

    @Test("the search returns the best of 80 scales", arguments: BitWidth.all)
    func searched(bits: BitWidth) {
        let grid = QuantizationGrid(bits)
        let scales = ScaleInitialization.paperSearch.scales(of: Self.weights, grid: grid)
        for (row, scale) in zip(Self.weights.rows, scales.values) {
            let channel = NaiveChannel(row, grid)
            let candidates = (1...80).map { Double(channel.minMaxScale) * Double($0) / 80 }
            let smallest = candidates.map { channel.error($0) }.min() ?? .nan
            #expect(channel.error(Double(scale)) <= smallest * (1 + 1e-5))
            #expect(candidates.contains { abs($0 - Double(scale)) < 1e-6 * $0 })
        }
        let zeros = ScaleInitialization.paperSearch.scales(of: Tensor.zeros([2, 3]), grid: grid)
        #expect(zeros.values == [1, 1])
    }

    @Test("no round raises the error, and ten rounds beat min-max", arguments: BitWidth.all)
    func monotone(bits: BitWidth) {
        let grid = QuantizationGrid(bits)
        let errorsByRound = (0...12).map { rounds in
            errors(
                Self.weights,
                ScaleInitialization.alternating(rounds: rounds).scales(of: Self.weights, grid: grid), grid)
        }
        for (before, after) in zip(errorsByRound, errorsByRound.dropFirst()) {
            for (old, new) in zip(before, after) { #expect(new <= old * (1 + 1e-6)) }
        }
        let minMax = errors(
            Self.weights, ScaleInitialization.minMax.scales(of: Self.weights, grid: grid), grid)
        #expect(minMax == errorsByRound[0])
        for (old, new) in zip(minMax, errorsByRound[10]) { #expect(new < old) }
    }

    // Wider grids converge more slowly from min-max: at 4 bits, ten rounds leave up to half of the best error on top.
    @Test(
        "on narrow grids ten rounds are as good as a search over 80 scales, as the paper found",
        arguments: [1, 2].map { BitWidth($0) })
    func search(bits: BitWidth) {
        let grid = QuantizationGrid(bits)
        let weights = normal([8, 2000], deviation: 0.02, stream: 5)
        let found = errors(weights, ScaleInitialization.paper.scales(of: weights, grid: grid), grid)
        for (row, error) in zip(weights.rows, found) {
            let channel = NaiveChannel(row, grid)
            let best = (1...80).map { channel.error(channel.minMaxScale * Double($0) / 80) }.min() ?? 0
            #expect(error <= best * 1.01)
        }
    }

    @Test("a channel of zeros gets scale 1 and leaves its neighbours alone", arguments: BitWidth.all)
    func zeroChannel(bits: BitWidth) {
        let grid = QuantizationGrid(bits)
        let row = normal([1, 40], stream: 6)
        let weights = Tensor.concatenated([row, .zeros([1, 40]), row * -2], axis: 0)
        for initialization in [ScaleInitialization.minMax, .paper] {
            let scales = initialization.scales(of: weights, grid: grid)
            #expect(scales[1] == 1)
            #expect(scales[0] == initialization.scales(of: row, grid: grid)[0])
            #expect(scales[2] == 2 * scales[0])
            let codes = GridQuantizer.codes(of: weights, scales: scales, grid: grid)
            #expect(codes[40..<80].allSatisfy { $0 == 0 })
        }
    }

    @Test("constant channels are represented exactly", arguments: BitWidth.all)
    func constantChannels(bits: BitWidth) {
        let grid = QuantizationGrid(bits)
        let weights = Tensor.concatenated(
            [.full([1, 30], 0.7), .full([1, 30], -3), .full([1, 30], 1e-3)], axis: 0)
        let scales = ScaleInitialization.paper.scales(of: weights, grid: grid)
        let seen = fakeQuantize(weights, scales: scales, grid: grid)
        expectClose(seen, weights, .roundings(4))
    }

    @Test(
        "weights of any size give the same codes with scales that follow", arguments: BitWidth.all,
        [Float(1e-30), 1e30])
    func extremes(bits: BitWidth, size: Float) {
        let grid = QuantizationGrid(bits)
        // A power of two near `size`, so that multiplication changes exponents only.
        let factor = Float(sign: .plus, exponent: size.exponent, significand: 1)
        let weights = normal([3, 70], stream: 7)
        for initialization in [ScaleInitialization.minMax, .paper] {
            let plain = initialization.scales(of: weights, grid: grid)
            let scales = initialization.scales(of: weights * factor, grid: grid)
            #expect(scales.values == (plain * factor).values)
            #expect(
                GridQuantizer.codes(of: weights * factor, scales: scales, grid: grid)
                    == GridQuantizer.codes(of: weights, scales: plain, grid: grid))
            // A student made of such weights sees them with these scales and no others.
            let student = FakeQuantizedWeight(
                latent: Parameter("weight", weights * factor), bits: bits, initialization: initialization)
            #expect(student.scales.values == scales.values)
            #expect(
                student.tensor().values == (fakeQuantize(weights, scales: plain, grid: grid) * factor).values)
        }
    }

    @Test("the smallest and the largest numbers of Float32 still get usable scales")
    func limits() {
        let grid = QuantizationGrid(BitWidth(8))
        let values: [Float] = [
            Float.leastNonzeroMagnitude, -.leastNonzeroMagnitude, Float.greatestFiniteMagnitude, -1,
        ]
        let weights = Tensor(values, shape: [2, 2])
        for initialization in [ScaleInitialization.minMax, .paper] {
            let scales = initialization.scales(of: weights, grid: grid)
            #expect(scales.values.allSatisfy { $0.isNormal && $0 > 0 })
            let seen = fakeQuantize(weights, scales: scales, grid: grid).values
            #expect(seen.allSatisfy { $0.isFinite })
        }
    }
}
