// SPDX-License-Identifier: Apache-2.0
// Codes on grids: range, rounding, idempotence, and the same weight whether fake-quantized, packed or dense.

import Packing
import Recipes
import Tensors
import TestKit
import Testing

@testable import Quantization

@Suite struct GridQuantizerTests {
    @Test("a dead zone is part of the grid, and no grid has one below 0.5 or of 1")
    func deadZones() {
        let grid = QuantizationGrid(BitWidth(2)), wide = grid.withDeadZone(0.75)
        #expect(wide != grid && wide.levels == grid.levels && wide.withoutDeadZone == grid)
        let weight = Tensor([0.74, 0.76, -1.74, -1.76, 9], shape: [1, 5])
        #expect(GridQuantizer.codes(of: weight, scales: .ones([1]), grid: wide) == [0, 1, -1, -2, 2])
        #expect(GridQuantizer.codes(of: weight, scales: .ones([1]), grid: grid) == [1, 1, -2, -2, 2])
        for deadZone in [Float(0.4), 1, .nan] {
            #expect(QuantizationGrid(BitWidth(2), levels: 5, deadZone: deadZone) == nil)
        }
    }

    @Test(
        "a grid of b bits has the codes -2^(b-1) ... 2^(b-1), all of them reached and none beyond",
        arguments: BitWidth.all)
    func range(bits: BitWidth) {
        let grid = QuantizationGrid(bits), largest = 1 << (bits.rawValue - 1)
        #expect(grid.levels == 2 * largest + 1)
        #expect(grid.maximumCode == largest)
        let all = (-largest - 2...largest + 2).map { Float($0) * 0.5 }
        let scales = Tensor([0.5], shape: [1])
        let codes = GridQuantizer.codes(
            of: Tensor(all, shape: [1, all.count]), scales: scales, grid: grid)
        #expect(codes == (-largest - 2...largest + 2).map { Int16(max(-largest, min(largest, $0))) })
        let far = Tensor([-.greatestFiniteMagnitude, .greatestFiniteMagnitude, -1e20, 1e20], shape: [1, 4])
        let ends = [-largest, largest, -largest, largest].map { Int16($0) }
        #expect(GridQuantizer.codes(of: far, scales: scales, grid: grid) == ends)
    }

    @Test(
        "LSQ's grid of b bits has the codes -2^(b-1) ... 2^(b-1) - 1, and min-max covers all weights with them",
        arguments: BitWidth.all)
    func unbalanced(bits: BitWidth) {
        let grid = QuantizationGrid(lsq: bits), half = 1 << (bits.rawValue - 1)
        #expect(grid.levels == 2 * half && !grid.isBalanced && grid != QuantizationGrid(bits))
        #expect(grid.minimumCode == -half && grid.maximumCode == half - 1)
        #expect(QuantizationGrid(bits, levels: grid.levels) == grid)
        let far = Tensor([-1e20, 1e20, -0.3, 0.3], shape: [1, 4]), scales = Tensor([1], shape: [1])
        #expect(GridQuantizer.codes(of: far, scales: scales, grid: grid).prefix(2) == [Int16(-half), Int16(half - 1)])
        let weight = Tensor([-0.75, 0.25, 0.1], shape: [1, 3])
        let minMax = ScaleInitialization.minMax.scales(of: weight, grid: grid)[0]
        #expect(minMax == 1 / Float(grid.levels - 1))
    }

    @Test("8 bits make 257 levels, whose ends do not fit a byte")
    func widest() {
        let grid = QuantizationGrid(BitWidth(8))
        #expect(grid.levels == 257)
        let weight = Tensor([-1, 1, 0.5, 1 / 128], shape: [1, 4])
        let scales = ScaleInitialization.minMax.scales(of: weight, grid: grid)
        #expect(GridQuantizer.codes(of: weight, scales: scales, grid: grid) == [-128, 128, 64, 1])
    }

    @Test("halves round to even codes", arguments: [Float(1), 0.25, 0x1p-60])
    func ties(scale: Float) {
        let multiples: [Float] = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5]
        let codes = GridQuantizer.codes(
            of: Tensor(multiples.map { $0 * scale }, shape: [1, 7]), scales: Tensor([scale], shape: [1]),
            grid: QuantizationGrid(BitWidth(3)))
        #expect(codes == [-2, -2, 0, 0, 2, 2, 4])
    }

    @Test(
        "weights on the grid keep their codes, and quantizing twice changes nothing", arguments: BitWidth.all)
    func idempotent(bits: BitWidth) {
        let grid = QuantizationGrid(bits)
        let weights = normal([7, 31], deviation: 0.3, stream: 8)
        let scales = ScaleInitialization.paper.scales(of: weights, grid: grid)
        let codes = GridQuantizer.codes(of: weights, scales: scales, grid: grid)
        let once = GridQuantizer.dequantize(codes, scales: scales, shape: weights.shape)
        #expect(GridQuantizer.codes(of: once, scales: scales, grid: grid) == codes)
        #expect(fakeQuantize(once, scales: scales, grid: grid).values == once.values)
        #expect(fakeQuantize(weights, scales: scales, grid: grid).values == once.values)
        // Another ten rounds find nothing better than zero error.
        let again = ScaleInitialization.paper.scales(of: once, grid: grid)
        #expect(NaiveChannel(once.rows[0], grid).error(Double(again[0])) < 1e-3)
    }

    @Test("each weight gets the nearest point of the grid", arguments: BitWidth.all)
    func nearest(bits: BitWidth) {
        let grid = QuantizationGrid(bits), scale: Float = 0.11
        let weights = normal([1, 400], stream: 9)
        let codes = GridQuantizer.codes(of: weights, scales: Tensor([scale], shape: [1]), grid: grid)
        for (weight, code) in zip(weights.values, codes) {
            func distance(_ code: Int) -> Double { abs(Double(weight) - Double(scale) * Double(code)) }
            let best = (-grid.maximumCode...grid.maximumCode).map(distance).min() ?? 0
            #expect(distance(Int(code)) <= best + 1e-7)
        }
    }

    @Test(
        "a packed weight is the student's, bit for bit, and so is a dense one made of either",
        arguments: BitWidth.all, PackingEncoding.allCases)
    func packed(bits: BitWidth, encoding: PackingEncoding) throws {
        for shape in [[5, 3, 3, 3], [4, 9], [1, 1], [3, 64]] {
            let student = FakeQuantizedWeight(
                latent: Parameter("layer.weight", normal(shape, deviation: 0.05, stream: 10)), bits: bits,
                initialization: .paper)
            let bytes = try packCodes(student.codes, levels: student.grid.levels, encoding: encoding)
            let packed = try PackedWeight(
                shape: shape, grid: QuantizationGrid(bits), encoding: encoding, codes: bytes, scales: student.scales)
            #expect(packed.codes == student.codes)
            #expect(packed.tensor().shape == shape)
            #expect(packed.tensor().values.map(\.bitPattern) == student.tensor().values.map(\.bitPattern))
            #expect(packed.parameters.isEmpty)
            #expect(!packed.tensor().requiresGradient)
            // Dense weights of the student quantize to the student's codes again.
            let dense = student.tensor().detached()
            #expect(
                GridQuantizer.codes(of: dense, scales: student.scales, grid: student.grid)
                    == student.codes)
        }
    }

    @Test(
        "codes of 255 levels stay bytes for integer products, those of 257 levels are floats",
        arguments: [[5, 3, 3, 3], [7, 6, 1, 1], [40, 9]])
    func packedInByte(shape: [Int]) throws {
        let bits = BitWidth(8)
        for (grid, isInteger) in [(QuantizationGrid(fittingInByte: bits), true), (QuantizationGrid(bits), false)] {
            let count = shape.reduce(1, *), largest = Int16(grid.maximumCode)
            // All codes of the grid, the ends first.
            let codes = (0..<count).map { Int16($0 * 7 % grid.levels) - largest }
                .enumerated().map { $0 == 1 ? largest : $1 }
            let scales = Tensor((0..<shape[0]).map { 0.01 + Float($0) / 300 }, shape: [shape[0]])
            let packed = try PackedWeight(
                shape: shape, grid: grid, encoding: .radix,
                codes: packCodes(codes, levels: grid.levels, encoding: .radix), scales: scales)
            #expect((packed.integer != nil) == isInteger)
            #expect(packed.integer.map(\.matrix.levels) == (isInteger ? 255 : nil))
            #expect(packed.codes == codes)
            #expect(
                packed.tensor().values.map(\.bitPattern)
                    == GridQuantizer.dequantize(codes, scales: scales, shape: shape).values.map(\.bitPattern))
            packed.activations = .float32
            #expect(packed.integer == nil)
        }
    }

    @Test("bytes of another length are refused when a packed weight is made")
    func wrongBytes() throws {
        let bytes = try packCodes([Int16](repeating: 1, count: 40), levels: 5, encoding: .radix)
        #expect(throws: PackingError.self) {
            try PackedWeight(
                shape: [4, 11], grid: QuantizationGrid(BitWidth(2)), encoding: .radix, codes: bytes, scales: .ones([4]))
        }
        #expect(throws: PackingError.self) {
            try PackedWeight(
                shape: [4, 10], grid: QuantizationGrid(BitWidth(2)), encoding: .radix, codes: bytes.dropLast(),
                scales: .ones([4]))
        }
    }

    @Test("codes for another shape and scales of another length trap")
    func traps() async {
        await #expect(processExitsWith: .failure) {
            _ = GridQuantizer.dequantize([1, 0, 1], scales: .ones([2]), shape: [2, 2])
        }
        await #expect(processExitsWith: .failure) {
            _ = GridQuantizer.codes(
                of: .ones([3, 2]), scales: .ones([4]), grid: QuantizationGrid(BitWidth(1)))
        }
    }
}
