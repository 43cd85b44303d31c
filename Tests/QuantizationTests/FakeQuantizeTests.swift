// SPDX-License-Identifier: Apache-2.0
// Fake quantization and LSQ's gradients: against PyTorch, and against what must hold of any function s·q(w / s).

import Foundation
import Recipes
import Tensors
import TestKit
import Testing

@testable import Quantization

/// One case of `Tests/Fixtures/make_lsq_fixtures.py`.
private struct LSQCase: Decodable, CustomTestStringConvertible {
    let bits, levels: Int
    let deadZone: Float
    let shape: [Int]
    let weight, scales, upstream, output, weightGradient, scaleGradient: [Double]

    var testDescription: String { "\(bits) bits, \(levels) levels, dead zone \(deadZone), \(shape)" }

    private struct File: Decodable { let cases: [LSQCase] }

    static func load() throws -> [LSQCase] {
        let url = Bundle.module.bundleURL.appendingPathComponent("Fixtures/lsq.json")
        return try JSONDecoder().decode(File.self, from: Data(contentsOf: url)).cases
    }
}

/// Output and gradients of one fake quantization.
private struct FakeQuantization {
    let output, weightGradient, scaleGradient: Tensor

    init(_ weight: Tensor, _ scales: Tensor, _ grid: QuantizationGrid, upstream: Tensor) throws {
        let (weight, scales) = (Parameter("weight", weight), Parameter("scales", scales))
        output = fakeQuantize(weight.tensor(), scales: scales.tensor(), grid: grid)
        output.backward(upstream)
        weightGradient = try #require(weight.gradient)
        scaleGradient = try #require(scales.gradient)
    }
}

@Suite struct FakeQuantizeTests {
    @Test("values and both gradients are PyTorch's, at ties, at the ends and outside of the grid too")
    func golden() throws {
        let cases = try LSQCase.load()
        #expect(cases.count == 30)
        for golden in cases {
            let grid = try #require(
                QuantizationGrid(BitWidth(golden.bits), levels: golden.levels, deadZone: golden.deadZone))
            let result = try FakeQuantization(
                Tensor(golden.weight.map(Float.init), shape: golden.shape),
                Tensor(golden.scales.map(Float.init), shape: [golden.shape[0]]), grid,
                upstream: Tensor(golden.upstream.map(Float.init), shape: golden.shape))
            let label = golden.testDescription
            // One rounding here, one of the nine digits stored.
            expectClose(result.output.values, golden.output, .roundings(2), "\(label) output")
            expectClose(
                result.weightGradient.values, golden.weightGradient, .roundings(2), "\(label) weight")
            // Every term is at most |g|·P with the largest magnitude P of a code, and the sum is divided by √(N·Q).
            let perChannel = golden.weight.count / golden.shape[0]
            let (largest, ofScale) = (Double(-grid.minimumCode), Double(max(grid.maximumCode, 1)))
            let magnitude =
                golden.upstream.reduce(0) { max($0, abs($1)) } * largest
                * (Double(perChannel) / ofScale).squareRoot()
            expectClose(
                result.scaleGradient.values, golden.scaleGradient,
                .float32Reduction(n: perChannel, magnitude: magnitude), "\(label) scales")
            // The fixture has what the name says.
            #expect(golden.weightGradient.contains(0), "\(label) has clipped weights")
        }
    }

    @Test(
        "along (w, s), where the function is smooth, the gradients are the derivative",
        arguments: BitWidth.all, [QuantizationGrid.nearest, 0.7])
    func homogeneous(bits: BitWidth, deadZone: Float) throws {
        // f(λw, λs) = λ f(w, s), so ⟨∂f/∂w, w⟩ + ∂f/∂s·s = f (Euler), whatever is clipped.
        let (channels, count) = (6, 50), grid = QuantizationGrid(bits).withDeadZone(deadZone)
        let weight = normal([channels, count], stream: 1)
        let scales = Tensor((1...channels).map { Float($0) / Float(3 * grid.maximumCode) }, shape: [channels])
        let upstream = normal([channels, count], stream: 2)
        let result = try FakeQuantization(weight, scales, grid, upstream: upstream)
        let factor = (Double(count) * Double(grid.maximumCode)).squareRoot()
        for channel in 0..<channels {
            let (w, g) = (weight.rows[channel], upstream.rows[channel])
            func product(_ a: [Float], _ b: [Float]) -> Double {
                zip(a, b).reduce(0) { $0 + Double($1.0) * Double($1.1) }
            }
            let alongScale = Double(result.scaleGradient[channel]) * factor * Double(scales[channel])
            let derivative = product(result.weightGradient.rows[channel], w) + alongScale
            let expected = product(g, result.output.rows[channel])
            let magnitude = zip(g, w).reduce(0) { $0 + abs(Double($1.0) * Double($1.1)) } + abs(expected)
            #expect(abs(derivative - expected) < 1e-5 * magnitude, "channel \(channel)")
            // The same derivative by differences; halving and doubling are exact in Float32.
            let double = fakeQuantize(weight * 2, scales: scales * 2, grid: grid).rows[channel]
            let half = fakeQuantize(weight * 0.5, scales: scales * 0.5, grid: grid).rows[channel]
            let slope = (product(g, double) - product(g, half)) / 1.5
            #expect(abs(slope - derivative) < 1e-5 * magnitude, "channel \(channel)")
        }
    }

    @Test(
        "the gradient of a weight is the mean slope over whole steps: 1 inside the grid, 0 outside",
        arguments: BitWidth.all)
    func meanSlope(bits: BitWidth) throws {
        let grid = QuantizationGrid(bits)
        let scale: Float = 0.125, end = Float(grid.maximumCode) * scale
        // A step above and below each value stays on the same side of the grid's end.
        let values: [Float] = [0.03, -0.05, end + scale * 1.3, -end - scale * 1.7, 40, -40]
        let weight = Tensor(values, shape: [1, values.count]), scales = Tensor([scale], shape: [1])
        let ones = Tensor.ones(weight.shape)
        let result = try FakeQuantization(weight, scales, grid, upstream: ones)
        #expect(result.weightGradient.values == [1, 1, 0, 0, 0, 0])
        let above = fakeQuantize(weight + scale, scales: scales, grid: grid).values
        let below = fakeQuantize(weight - scale, scales: scales, grid: grid).values
        let slopes = zip(above, below).map { ($0 - $1) / (2 * scale) }
        expectClose(slopes, result.weightGradient.values, .roundings(8))
    }

    @Test("where all weights are clipped, the scale's gradient is its derivative times 1/√(N·Q)")
    func clippedScale() throws {
        let grid = QuantizationGrid(BitWidth(3))
        let weight = Tensor([9, -7, 8, 30, -11, 6], shape: [2, 3]), scales = Tensor([1, 1.25], shape: [2])
        let upstream = Tensor([1, 2, -0.5, 0.25, -3, 1], shape: [2, 3])
        let result = try FakeQuantization(weight, scales, grid, upstream: upstream)
        let step: Float = 0x1p-6
        let above = (fakeQuantize(weight, scales: scales + step, grid: grid) * upstream).sum(axes: [1])
        let below = (fakeQuantize(weight, scales: scales - step, grid: grid) * upstream).sum(axes: [1])
        let factor: Float = 1 / Float(3 * 4).squareRoot()
        let numeric = zip(above.values, below.values).map { ($0 - $1) / (2 * step) * factor }
        expectClose(result.scaleGradient.values, numeric, .roundings(64))
        #expect(numeric.allSatisfy { $0 != 0 })
    }

    @Test("nothing is kept for gradients that are not computed")
    func withoutTape() {
        let weight = normal([2, 5]), scales = Tensor([0.5, 1], shape: [2])
        #expect(!fakeQuantize(weight, scales: scales, grid: QuantizationGrid(BitWidth(2))).requiresGradient)
        let frozen = Parameter("frozen", weight, isTrainable: false)
        let trained = Parameter("trained", scales)
        let output = fakeQuantize(
            frozen.tensor(), scales: trained.tensor(), grid: QuantizationGrid(BitWidth(2)))
        output.sum().backward()
        #expect(frozen.gradient == nil)
        #expect(trained.gradient != nil)
    }

    @Test("the weight takes the storage of the output's gradient, unless it has another owner")
    func inPlace() throws {
        func run(holding: Bool) throws -> (from: [Tensor], weight: Parameter, same: Bool) {
            let weight = Parameter("weight", normal([3, 40]))
            let scales = Parameter("scales", Tensor([0.5, 0.4, 0.3], shape: [3]))
            let upstream = normal([3, 40], stream: 1)
            var (held, address): ([Tensor], UnsafePointer<Float>?) = ([], nil)
            let seen = fakeQuantize(weight.tensor(), scales: scales.tensor(), grid: QuantizationGrid(BitWidth(2)))
            Tensor.custom("top", inputs: [seen], output: Tensor(scalar: 0)) { _ in
                let gradient = upstream * 1
                address = gradient.withUnsafeBufferPointer(\.baseAddress)
                held = holding ? [gradient] : []
                return [gradient]
            }.backward()
            let found = try #require(weight.gradient).withUnsafeBufferPointer(\.baseAddress)
            return (held, weight, found == address)
        }
        let (free, shared) = (try run(holding: false), try run(holding: true))
        #expect(free.same && !shared.same)
        #expect(free.weight.gradient?.values == shared.weight.gradient?.values)
        #expect(shared.from.map(\.values) == [normal([3, 40], stream: 1).values])
        #expect(shared.weight.gradient?.values.contains(0) == true, "some weights are clipped")
    }

    @Test("scales that are not one per output channel trap")
    func wrongScales() async {
        await #expect(processExitsWith: .failure) {
            _ = fakeQuantize(.ones([3, 2]), scales: .ones([2]), grid: QuantizationGrid(BitWidth(1)))
        }
    }
}
