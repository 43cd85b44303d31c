// SPDX-License-Identifier: Apache-2.0
// Integer kernels of every table against the scalar reference: codes in panels, quantized activations, products. Bits
// must be equal, including floats. Inputs end at inaccessible pages.

import CKernels
import TestKit
import Testing

@testable import Tensors

/// Integer kernels under test, named by their instruction set.
struct IntegerTable: Sendable, CustomTestStringConvertible {
    let name: String
    nonisolated(unsafe) let kernels: bf_integer_table

    var testDescription: String { name }

    /// Every vectorized table that this processor supports.
    static let available = ["portable", "avx2", "avx512vnni"].compactMap(IntegerTable.init)

    /// The same, and the scalar reference.
    static let all = available + ["reference"].compactMap(IntegerTable.init)

    init?(_ name: String) {
        guard let table = bf_integer_kernels_named(name) else { return nil }
        (self.name, kernels) = (name, table.pointee)
    }

    /// The scalar reference.
    static func reference() throws -> bf_integer_table {
        try #require(bf_integer_kernels_named("reference")).pointee
    }
}

/// Values of any type that end at an inaccessible page.
private final class GuardedValues<Element: BitwiseCopyable> {
    let pointer: UnsafeMutablePointer<Element>
    private let buffer: GuardedBuffer

    init(_ values: [Element]) throws {
        let bytes = values.count * MemoryLayout<Element>.stride
        let words = (bytes + 3) / 4
        buffer = try GuardedBuffer([Float](repeating: 0, count: words))
        let start = UnsafeMutableRawPointer(buffer.pointer) + (4 * words - bytes)
        pointer = start.bindMemory(to: Element.self, capacity: values.count)
        values.withUnsafeBytes { source in
            if let base = source.baseAddress { start.copyMemory(from: base, byteCount: bytes) }
        }
    }
}

/// Integers in `low ... high`, different for each `stream`.
private func integers(_ count: Int, _ low: Int, _ high: Int, stream: UInt64) -> [Int] {
    uniform([count], Float(low), Float(high + 1), stream: stream).values.map {
        min(Int($0.rounded(.down)), high)
    }
}

/// A layer of N outputs x S segments x K inputs, and its input rows.
private struct IntegerLayer {
    let shape: bf_integer_shape
    let rows: Int
    let weights: GuardedValues<UInt8>
    let pixels: GuardedValues<Int8>
    let sums, rowPixel, segmentStep: GuardedValues<Int32>
    let scales, pixelScales, bias, channelBias: GuardedValues<Float>

    /// Random operands. If `extreme`, all activations of a pixel are -127 or all are 127, and the codes of an output
    /// are all L - 1, all 0 or drawn from these two.
    init(levels: Int, rows: Int, outputs: Int, segments: Int, inputs: Int, extreme: Bool) throws {
        let kernels = try IntegerTable.reference()
        let highest = levels - 1
        shape = bf_integer_shape(
            bits: bf_integer_bits(Int32(levels)), levels: Int32(levels), offset: Int32(highest / 2), outputs: outputs,
            segments: segments, inputs: inputs)
        self.rows = rows
        var codes = integers(outputs * segments * inputs, 0, highest, stream: 1)
        if extreme {
            for at in codes.indices {
                let isHighest =
                    switch at / (segments * inputs) % 3 {
                    case 0: true
                    case 1: false
                    default: codes[at] > highest / 2
                    }
                codes[at] = isHighest ? highest : 0
            }
        }
        let strides = bf_integer_strides(output: segments * inputs, segment: inputs, input: 1)
        var panels = [UInt8](repeating: 0, count: bf_integer_panel_bytes(shape))
        kernels.pack_panels(codes.map(UInt8.init), strides, shape, 0, bf_integer_panels(outputs), &panels)
        weights = try GuardedValues(panels)

        let count = rows + segments + 2, depth = bf_integer_depth(inputs)
        let values = integers(count * inputs, -127, 127, stream: 2)
        var bytes = [Int8](repeating: 0, count: count * depth)
        var totals = [Int32](repeating: 0, count: count)
        for pixel in 0..<count {
            for k in 0..<inputs {
                let value = extreme ? (pixel % 2 == 0 ? -127 : 127) : values[pixel * inputs + k]
                bytes[pixel * depth + k] = Int8(value)
                totals[pixel] += Int32(value)
            }
        }
        pixels = try GuardedValues(bytes)
        sums = try GuardedValues(totals)
        pixelScales = try GuardedValues(uniform([count], 0.01, 2, stream: 3).values)
        rowPixel = try GuardedValues(integers(rows, 0, rows + 1, stream: 4).map(Int32.init))
        segmentStep = try GuardedValues((0..<segments).map(Int32.init))
        scales = try GuardedValues(uniform([outputs], 0.01, 1, stream: 5).values)
        bias = try GuardedValues(normal([outputs], stream: 6).values)
        channelBias = try GuardedValues(normal([outputs], stream: 7).values)
    }

    /// The result of `kernels` as bit patterns, divided after `cutRow` rows and `cutPanel` panels. `form` selects
    /// layout, biases and addend.
    func product(_ kernels: bf_integer_table, form: Int, cutRow: Int, cutPanel: Int) throws -> [UInt32] {
        let channelsFirst = form & 1 == 1
        let step = (channelsFirst ? rows : shape.outputs) + form % 3
        let count = channelsFirst ? (shape.outputs - 1) * step + rows : (rows - 1) * step + shape.outputs
        let start = normal([count], stream: 8).values
        let addend = try GuardedValues(normal([count], stream: 9).values)
        let panels = bf_integer_panels(shape.outputs)
        let result = floats(count, from: start) { y in
            for (firstRow, endRow) in [(0, cutRow), (cutRow, rows)] {
                for (firstPanel, endPanel) in [(0, cutPanel), (cutPanel, panels)] {
                    var product = bf_integer_product()
                    product.shape = shape
                    product.weights = UnsafePointer(weights.pointer)
                    product.weight_scales = UnsafePointer(scales.pointer)
                    product.pixels = UnsafePointer(pixels.pointer)
                    product.pixel_scales = UnsafePointer(pixelScales.pointer)
                    product.pixel_sums = UnsafePointer(sums.pointer)
                    if form != 0 { product.row_pixel = UnsafePointer(rowPixel.pointer) }
                    if shape.segments > 1 { product.segment_step = UnsafePointer(segmentStep.pointer) }
                    product.first_row = firstRow
                    product.rows = endRow - firstRow
                    product.first_panel = firstPanel
                    product.panels = endPanel - firstPanel
                    if form > 0 { product.bias = UnsafePointer(bias.pointer) }
                    if form > 3 { product.channel_bias = UnsafePointer(channelBias.pointer) }
                    if form & 2 == 2 { product.addend = UnsafePointer(form > 3 ? y : addend.pointer) }
                    product.y = y
                    product.y_step = step
                    product.channels_first = channelsFirst
                    let bytes = kernels.product_scratch(&product)
                    var scratch = [UInt8](repeating: 0xff, count: bytes)
                    scratch.withUnsafeMutableBytes { kernels.product(&product, $0.baseAddress) }
                }
            }
        }
        return result.map(\.bitPattern)
    }
}

@Suite struct IntegerKernelTests {
    @Test("codes are stored in the smallest container that fits their levels")
    func containers() {
        let expected: [Int32: Int32] = [
            1: 0, 2: 2, 3: 2, 4: 2, 5: 4, 9: 4, 16: 4, 17: 8, 33: 8, 129: 8, 130: 8, 255: 8, 256: 0, 257: 0,
        ]
        for (levels, bits) in expected { #expect(bf_integer_bits(levels) == bits, "\(levels) levels") }
        #expect(bf_integer_depth(320) == 320 && bf_integer_depth(4) == 16 && bf_integer_depth(17) == 32)
        #expect(bf_integer_panels(33) == 2)
    }

    @Test(
        "unpacked codes equal the packed ones, and the panels equal the reference's", arguments: IntegerTable.available)
    func panels(table: IntegerTable) throws {
        let (kernels, reference) = (table.kernels, try IntegerTable.reference())
        for levels in [4, 16, 129, 255] {
            for (outputs, segments, inputs) in [
                (1, 1, 1), (32, 1, 16), (33, 9, 5), (70, 1, 40), (5, 4, 17), (64, 9, 48),
            ] {
                let highest = levels - 1
                let shape = bf_integer_shape(
                    bits: bf_integer_bits(Int32(levels)), levels: Int32(levels), offset: Int32(highest / 2),
                    outputs: outputs, segments: segments, inputs: inputs)
                let (bytes, count) = (bf_integer_panel_bytes(shape), bf_integer_panels(outputs))
                let codes = integers(outputs * segments * inputs, 0, highest, stream: 1).map(UInt8.init)
                let source = try GuardedValues(codes)
                let scales = try GuardedValues(uniform([outputs], 0.01, 1, stream: 2).values)
                // Contiguous inputs, and contiguous taps of a convolution.
                for strides in [
                    bf_integer_strides(output: segments * inputs, segment: inputs, input: 1),
                    bf_integer_strides(output: segments * inputs, segment: 1, input: segments),
                ] {
                    let label: Comment = "\(levels) levels, \(outputs) x \(segments) x \(inputs)"
                    let fill = [UInt8](repeating: 0x5a, count: bytes)
                    let packed = output(fill, guarded: 0xa5) {
                        kernels.pack_panels(source.pointer, strides, shape, 0, count / 2, $0)
                        kernels.pack_panels(source.pointer, strides, shape, count / 2, count - count / 2, $0)
                    }
                    let expected = output(fill, guarded: 0xa5) {
                        reference.pack_panels(source.pointer, strides, shape, 0, count, $0)
                    }
                    #expect(packed == expected, label)
                    let panels = try GuardedValues(packed)
                    let back = output([UInt8](repeating: 255, count: codes.count), guarded: 0xa5) {
                        kernels.unpack_panels(panels.pointer, shape, 0, count, $0, strides)
                    }
                    #expect(back == codes, label)
                    let first = outputs / 3
                    let decoded = floats((outputs - first) * segments * inputs) {
                        kernels.decode_rows(
                            panels.pointer, shape, first, outputs - first, scales.pointer, $0, strides)
                    }
                    for (at, value) in decoded.enumerated() {
                        let o = at / (segments * inputs) + first
                        let code = Int32(codes[first * segments * inputs + at]) - shape.offset
                        #expect(value == scales.pointer[o] * Float(code), label)
                    }
                }
            }
        }
    }

    /// Rows of ordinary numbers, midpoints between codes, tiny and huge numbers, zeros and NaN.
    private func adversarial(rows: Int, width: Int) -> [[Float]] {
        let values = normal([rows, width], stream: 11).values
        return (0..<rows).map { row in
            var numbers = Array(values[row * width..<(row + 1) * width])
            switch row % 8 {
            case 1: numbers = numbers.map { ($0 * 40).rounded() / 2 }
            case 2: numbers = numbers.map { $0 * 1e-38 }
            case 3: numbers = numbers.map { $0 * 1e-29 }
            case 4: numbers = numbers.map { $0 * 8e37 }
            case 5: numbers = numbers.map { _ in -0.0 }
            case 6: numbers[width / 2] = .nan
            case 7: numbers[width - 1] = -.infinity
            default: break
            }
            return numbers
        }
    }

    @Test(
        "activations of tokens and images are quantized as in the reference",
        arguments: IntegerTable.available)
    func quantization(table: IntegerTable) throws {
        let (kernels, reference) = (table.kernels, try IntegerTable.reference())
        for (rows, width) in [(1, 1), (9, 16), (17, 5), (16, 64), (37, 70), (150, 33), (8, 321)] {
            let numbers = adversarial(rows: rows, width: width)
            let depth = bf_integer_depth(width), first = 2, plane = rows + 3
            let tokens = try GuardedValues(numbers.flatMap { $0 })
            var transposed = [Float](repeating: 1, count: (width - 1) * plane + first + rows)
            for k in 0..<width {
                for row in 0..<rows { transposed[k * plane + first + row] = numbers[row][k] }
            }
            let image = try GuardedValues(transposed)
            func quantized(_ kernels: bf_integer_table, asImage: Bool) -> [[Int]] {
                var scales: [Float] = []
                var sums: [Int32] = []
                let codes = output([Int8](repeating: 1, count: rows * depth), guarded: 77) { codes in
                    sums = output([Int32](repeating: 1, count: rows), guarded: 77) { sums in
                        scales = floats(rows) { scales in
                            if asImage {
                                kernels.quantize_image(
                                    image.pointer, width, plane, first, rows, codes, depth, scales, sums)
                            } else {
                                kernels.quantize_rows(
                                    tokens.pointer, rows, width, width, codes, depth, scales, sums)
                            }
                        }
                    }
                }
                return [codes.map { Int($0) }, sums.map { Int($0) }, scales.map { Int($0.bitPattern) }]
            }
            let expected = quantized(reference, asImage: false)
            #expect(quantized(kernels, asImage: false) == expected, "tokens \(rows) x \(width)")
            #expect(quantized(kernels, asImage: true) == expected, "image \(width) x \(rows)")
        }
    }

    @Test(
        "the scale of a pixel maps its largest magnitude to 127; ties round to even",
        arguments: IntegerTable.available)
    func rounding(table: IntegerTable) throws {
        let x = try GuardedValues<Float>([127, 0.5, 1.5, -2.5, -0.5, -127])
        var scale: [Float] = []
        var sum: [Int32] = []
        let codes = output([Int8](repeating: 9, count: 16), guarded: 77) { codes in
            sum = output([0], guarded: 77) { sum in
                scale = floats(1) { table.kernels.quantize_rows(x.pointer, 1, 6, 6, codes, 16, $0, sum) }
            }
        }
        #expect(codes == [127, 0, 2, -2, 0, -127] + [Int8](repeating: 0, count: 10))
        #expect(scale == [1])
        #expect(sum == [0])
    }

    @Test(
        "products have the bits of the reference, for any shape, layout and division", .slow,
        arguments: IntegerTable.available)
    func products(table: IntegerTable) throws {
        let reference = try IntegerTable.reference()
        let shapes = [
            (1, 33, 1, 40), (1, 160, 1, 20), (2, 70, 2, 17), (3, 32, 1, 64), (4, 5, 9, 3), (5, 1, 1, 1),
            (13, 64, 1, 65), (14, 33, 3, 16), (15, 31, 1, 100), (29, 70, 9, 20), (57, 40, 1, 33),
            (230, 33, 2, 5),
        ]
        for levels in [4, 16, 129, 255] {
            for (index, (rows, outputs, segments, inputs)) in shapes.enumerated() {
                let layer = try IntegerLayer(
                    levels: levels, rows: rows, outputs: outputs, segments: segments, inputs: inputs,
                    extreme: index % 3 == 2)
                for form in 0..<8 {
                    let expected = try layer.product(reference, form: form, cutRow: 0, cutPanel: 0)
                    let cut = rows * form / 8, panel = bf_integer_panels(outputs) * (form % 3) / 2
                    let result = try layer.product(table.kernels, form: form, cutRow: cut, cutPanel: panel)
                    #expect(
                        result == expected,
                        "\(levels) levels, \(rows) rows, \(outputs) x \(segments) x \(inputs), form \(form)")
                }
            }
        }
    }

    @Test(
        "the largest codes and activations do not overflow over thousands of inputs",
        arguments: IntegerTable.available, [129, 255])
    func extremes(table: IntegerTable, levels: Int) throws {
        let reference = try IntegerTable.reference()
        for (rows, outputs, segments, inputs) in [
            (1, 33, 2, 5000), (15, 33, 2, 5000), (3, 33, 9, 1200), (30, 40, 9, 640),
            (1, 3, 1, Int(BF_INTEGER_MAX_INPUTS)), (5, 3, 1, Int(BF_INTEGER_MAX_INPUTS)),
        ] {
            let layer = try IntegerLayer(
                levels: levels, rows: rows, outputs: outputs, segments: segments, inputs: inputs, extreme: true)
            let expected = try layer.product(reference, form: 3, cutRow: 0, cutPanel: 0)
            #expect(
                try layer.product(table.kernels, form: 3, cutRow: 0, cutPanel: 0) == expected,
                "\(rows) rows, \(outputs) x \(segments) x \(inputs)")
        }
    }

    @Test(
        "pairs of products at the ends of the ranges have their exact sum",
        arguments: IntegerTable.all, [129, 255])
    func exactExtremes(table: IntegerTable, levels: Int) throws {
        let (rows, inputs) = (6, Int(BF_INTEGER_MAX_INPUTS))
        let layer = try IntegerLayer(
            levels: levels, rows: rows, outputs: 2, segments: 1, inputs: inputs, extreme: true)
        // Codes L - 1, then codes 0: the sum is plus or minus 127 * (L - 1) / 2 for each input.
        let found = try layer.product(table.kernels, form: 0, cutRow: 0, cutPanel: 0)
        for row in 0..<rows {
            for (output, sign) in [1, -1].enumerated() {
                let sum = sign * (row % 2 == 0 ? -127 : 127) * (levels - 1) / 2 * inputs
                let value = Float(sum) * layer.pixelScales.pointer[row] * layer.scales.pointer[output]
                #expect(Float(bitPattern: found[row * 2 + output]) == value, "row \(row), output \(output)")
            }
        }
    }

    @Test("a product is the sum of dequantized weights times dequantized activations")
    func meaning() throws {
        let layer = try IntegerLayer(
            levels: 16, rows: 6, outputs: 35, segments: 3, inputs: 21, extreme: false)
        let (outputs, segments, inputs) = (35, 3, 21)
        let strides = bf_integer_strides(output: segments * inputs, segment: inputs, input: 1)
        let reference = try IntegerTable.reference()
        let weights = floats(outputs * segments * inputs) {
            reference.decode_rows(
                layer.weights.pointer, layer.shape, 0, outputs, layer.scales.pointer, $0, strides)
        }
        let result = try layer.product(reference, form: 1, cutRow: 0, cutPanel: 0)
            .map(Float.init(bitPattern:))
        for row in 0..<6 {
            for o in 0..<outputs {
                var total = Double(layer.bias.pointer[o]), magnitude = abs(total)
                for s in 0..<segments {
                    let pixel = Int(layer.rowPixel.pointer[row]) + s
                    for k in 0..<inputs {
                        let activation =
                            Double(layer.pixelScales.pointer[pixel])
                            * Double(layer.pixels.pointer[pixel * 32 + k])
                        let term = Double(weights[(o * segments + s) * inputs + k]) * activation
                        total += term
                        magnitude += abs(term)
                    }
                }
                let step = 6 + 1
                let value = Double(result[o * step + row])
                #expect(
                    abs(value - total) <= 8 * Tolerance.unitRoundoff * magnitude, "row \(row), output \(o)")
            }
        }
    }
}
