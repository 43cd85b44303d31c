// SPDX-License-Identifier: Apache-2.0
// Direct 3x3 convolution kernels of every table against the scalar twins. Inputs end at inaccessible pages, and all
// that the contract leaves open is NaN, so that a read too far cannot go unnoticed.
// IC/OC channels, H W size without the border.

import CKernels
import Tensors
import TestSupport
import Testing

/// One image size with its padded planes, as `table` wants them.
private struct Planes {
    let table: bf_kernel_table
    let shape: bf_padded
    var height: Int { Int(shape.height) }
    var width: Int { Int(shape.width) }
    var pixels: Int { height * width }

    init(_ table: bf_kernel_table, height: Int, width: Int) {
        let vector = table.vector_width
        let pitch = (width + vector - 1) / vector * vector + 2
        self.table = table
        shape = bf_padded(
            plane: pitch * (height + 2) + vector, pitch: pitch, height: Int32(height), width: Int32(width))
    }

    /// `planes` planes of `x` with their border; floats beyond border and pixels are NaN.
    func padded(_ x: [Float], planes: Int) -> [Float] {
        var result = [Float](repeating: .nan, count: planes * shape.plane)
        for plane in 0..<planes {
            for y in 0..<height + 2 {
                for column in 0..<width + 2 {
                    let isInside = (1...height).contains(y) && (1...width).contains(column)
                    result[plane * shape.plane + y * shape.pitch + column] =
                        isInside ? x[(plane * height + y - 1) * width + column - 1] : 0
                }
            }
        }
        return result
    }

    /// Packed weights in the table's own order.
    func packed(_ w: [Float], outputs: Int, inputs: Int, flip: Bool = false) -> [Float] {
        let block = table.conv_block
        return floats((outputs + block - 1) / block * block * inputs * 9) {
            table.pack_conv3x3(w, $0, outputs, inputs, flip)
        }
    }
}

@Suite struct DirectConvolutionKernelTests {
    /// 1 to 40: below, at and beside multiples of every vector width.
    private static let widths = Array(1...40)
    private static let heights = [1, 2, 3, 5, 7]

    @Test(
        "padding writes every float of the planes: pixels, and zeros around them",
        arguments: KernelTable.available)
    func padding(table: KernelTable) throws {
        for width in Self.widths {
            for height in Self.heights {
                let planes = Planes(table.kernels, height: height, width: width), count = 3
                let x = normal([count, height, width]).values
                let input = try GuardedBuffer(x)
                let output = try GuardedBuffer([Float](repeating: .nan, count: count * planes.shape.plane))
                table.kernels.pad_planes(input.pointer, output.pointer, planes.shape, count)
                let expected = planes.padded(x, planes: count).map { $0.isNaN ? 0 : $0 }
                #expect(output.values() == expected, "\(height)x\(width)")
                let twin = floats(expected.count) { reference.pad_planes(x, $0, planes.shape, count) }
                #expect(twin == expected)
            }
        }
    }

    @Test(
        "packing orders weights by block, input and tap, with zeros past the last channel",
        arguments: KernelTable.available, [false, true])
    func packing(table: KernelTable, flip: Bool) throws {
        let block = table.kernels.conv_block
        for outputs in [1, 2, block - 1, block, block + 1, 2 * block + 5] where outputs > 0 {
            for inputs in [1, 2, 7] {
                let w = normal([outputs, inputs, 9]).values
                let blocks = (outputs + block - 1) / block
                var expected = [Float](repeating: 0, count: blocks * block * inputs * 9)
                for o in 0..<outputs {
                    for i in 0..<inputs {
                        for tap in 0..<9 {
                            let at = (((o / block) * inputs + i) * 9 + tap) * block + o % block
                            expected[at] =
                                flip ? w[(i * outputs + o) * 9 + 8 - tap] : w[(o * inputs + i) * 9 + tap]
                        }
                    }
                }
                let input = try GuardedBuffer(w)
                let output = try GuardedBuffer([Float](repeating: .nan, count: expected.count))
                table.kernels.pack_conv3x3(input.pointer, output.pointer, outputs, inputs, flip)
                #expect(output.values() == expected, "\(outputs) outputs, \(inputs) inputs")
            }
        }
        // The twin packs one channel to a block, which is the plain order.
        let w = normal([3, 4, 9], stream: 9).values
        #expect(Planes(reference, height: 1, width: 1).packed(w, outputs: 3, inputs: 4) == w)
    }

    @Test("convolution agrees with the twin for every width", arguments: KernelTable.available)
    func convolution(table: KernelTable) throws {
        let block = table.kernels.conv_block
        let channels = [(1, 1), (3, block), (2, block + 1), (5, 2 * block + 3)]
        for width in Self.widths {
            for height in Self.heights {
                let (inputs, outputs) = channels[(width + height) % channels.count]
                try checkConvolution(
                    table.kernels, inputs: inputs, outputs: outputs, height: height, width: width,
                    hasBias: width % 3 != 0)
            }
        }
    }

    private func checkConvolution(
        _ kernels: bf_kernel_table, inputs: Int, outputs: Int, height: Int, width: Int, hasBias: Bool
    ) throws {
        let planes = Planes(kernels, height: height, width: width)
        let x = normal([inputs, height, width], stream: 1).values
        let w = normal([outputs, inputs, 9], stream: 2).values
        let bias = normal([outputs], stream: 3).values
        let input = try GuardedBuffer(planes.padded(x, planes: inputs))
        let packed = try GuardedBuffer(planes.packed(w, outputs: outputs, inputs: inputs))
        let biases = hasBias ? try GuardedBuffer(bias) : nil
        let output = try GuardedBuffer([Float](repeating: .nan, count: outputs * planes.pixels))
        kernels.conv3x3(
            input.pointer, planes.shape, packed.pointer, biases?.pointer, output.pointer, inputs, outputs, 0,
            planes.shape.height)
        func twin(_ x: [Float], _ w: [Float], _ bias: [Float]) -> [Float] {
            floats(outputs * planes.pixels) {
                reference.conv3x3(
                    planes.padded(x, planes: inputs), planes.shape, w, hasBias ? bias : nil, $0, inputs,
                    outputs, 0, planes.shape.height)
            }
        }
        let magnitude = twin(x.map(abs), w.map(abs), bias.map(abs)).max() ?? 0
        let tolerance = Tolerance.float32Reduction(n: inputs * 9 + 1, magnitude: Double(magnitude))
        let label = "\(inputs) to \(outputs) channels, \(height)x\(width)"
        expectClose(output.values(), twin(x, w, bias), tolerance, label)

        // Any cut into ranges of rows gives the same bits, and leaves the other rows alone.
        let cut = try GuardedBuffer([Float](repeating: .nan, count: outputs * planes.pixels))
        for (first, rows) in [(height / 2, height - height / 2), (0, height / 2)] where rows > 0 {
            kernels.conv3x3(
                input.pointer, planes.shape, packed.pointer, biases?.pointer, cut.pointer, inputs, outputs,
                Int32(first), Int32(rows))
            if first > 0 {
                let untouched = cut.values().enumerated().filter { $0.offset % planes.pixels < first * width }
                #expect(untouched.allSatisfy { $0.element.isNaN }, "\(label): rows above \(first)")
            }
        }
        #expect(cut.values() == output.values(), "\(label) by rows")
    }

    @Test(
        "the weight's gradient agrees with the twin for whole vectors and channels from one block on",
        arguments: KernelTable.available)
    func weightGradient(table: KernelTable) throws {
        let (vector, block) = (table.kernels.vector_width, table.kernels.conv_grad_block)
        for width in Self.widths where width % vector == 0 {
            for height in Self.heights {
                for outputs in [block, block + 1, 2 * block + 1] {
                    try checkWeightGradient(
                        table.kernels, inputs: 1 + height % 3, outputs: outputs,
                        images: 1 + width / vector % 3,
                        height: height, width: width)
                }
            }
        }
    }

    /// Channels `first ..< first + outputs` of more, images further apart than need be.
    private func checkWeightGradient(
        _ kernels: bf_kernel_table, inputs: Int, outputs: Int, images: Int, height: Int, width: Int
    ) throws {
        let planes = Planes(kernels, height: height, width: width), first = 2
        let total = first + outputs
        let x = (0..<images).map { normal([inputs, height, width], stream: UInt64($0)).values }
        let g = (0..<images).map { normal([total, height, width], stream: 100 + UInt64($0)).values }
        let gap = [Float](repeating: .nan, count: 11)
        func joined(_ images: [[Float]]) -> [Float] { Array(images.joined(separator: gap)) }
        let (imageStride, gradientStride) = (
            inputs * planes.shape.plane + gap.count, total * planes.pixels + gap.count
        )
        let input = try GuardedBuffer(joined(x.map { planes.padded($0, planes: inputs) }))
        let gradients = try GuardedBuffer(joined(g))
        let output = try GuardedBuffer([Float](repeating: .nan, count: total * inputs * 9))
        kernels.conv3x3_weight_grad(
            input.pointer, planes.shape, imageStride, gradients.pointer, gradientStride, images,
            output.pointer, inputs, first, outputs)
        func twin(_ x: [[Float]], _ g: [[Float]]) -> [Float] {
            floats(total * inputs * 9) {
                reference.conv3x3_weight_grad(
                    joined(x.map { planes.padded($0, planes: inputs) }), planes.shape, imageStride, joined(g),
                    gradientStride, images, $0, inputs, first, outputs)
            }
        }
        let own = first * inputs * 9
        let found = output.values()
        let label = "\(images) images, \(inputs) to \(outputs) channels, \(height)x\(width)"
        #expect(found.prefix(own).allSatisfy { $0.isNaN }, "\(label): channels before the first")
        let magnitude = twin(x.map { $0.map(abs) }, g.map { $0.map(abs) }).max() ?? 0
        expectClose(
            Array(found.dropFirst(own)), Array(twin(x, g).dropFirst(own)),
            .float32Reduction(n: images * planes.pixels, magnitude: Double(magnitude)), label)
    }
}
