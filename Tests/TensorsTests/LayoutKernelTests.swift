// SPDX-License-Identifier: Apache-2.0
// Kernels that move elements or convert formats, exactly equal to the scalar reference.

import CKernels
import Checkpoints
import TestKit
import Testing

@testable import Tensors

@Suite struct LayoutKernelTests {
    @Test("transposes are exact for every pair of awkward sizes", arguments: KernelTable.available)
    func transposes(table: KernelTable) {
        for rows in awkwardLengths where rows <= 67 {
            for columns in awkwardLengths where columns <= 67 {
                let (ldx, ldo) = (columns + 3, rows + 2)
                let x = normal([rows * ldx + 1]).values
                let got = floats(columns * ldo) { table.kernels.transpose(x, $0, rows, columns, ldx, ldo) }
                let expected = floats(columns * ldo) { reference.transpose(x, $0, rows, columns, ldx, ldo) }
                #expect(got == expected, "\(rows)x\(columns)")
            }
        }
    }

    @Test("upsampling and its gradient agree with the scalar reference", arguments: KernelTable.available)
    func resizing(table: KernelTable) {
        for width in awkwardLengths where width <= 67 {
            let (planes, height) = (2, 3)
            let x = normal([planes * height * width]).values, g = normal([4 * x.count], stream: 1).values
            #expect(
                floats(4 * x.count) { table.kernels.upsample2x(x, $0, planes, height, width) }
                    == floats(4 * x.count) { reference.upsample2x(x, $0, planes, height, width) })
            expectClose(
                floats(x.count) { table.kernels.upsample2x_grad(g, $0, planes, height, width) },
                floats(x.count) { reference.upsample2x_grad(g, $0, planes, height, width) },
                .float32Reduction(n: 4, magnitude: 16), "width \(width)")
        }
    }

    @Test("columns of a convolution are exact, whole or in parts", arguments: KernelTable.available)
    func columns(table: KernelTable) {
        for (height, width, kernel, stride, top, left, bottom, right) in [
            (5, 7, 3, 1, 1, 1, 1, 1), (5, 7, 3, 2, 1, 1, 1, 1), (6, 4, 1, 1, 0, 0, 0, 0),
            (6, 5, 1, 2, 0, 0, 0, 0),
            (4, 33, 5, 1, 2, 2, 2, 2), (6, 8, 3, 2, 0, 0, 1, 1), (3, 2, 3, 1, 4, 3, 2, 5),
            (9, 9, 5, 3, 2, 1, 0, 3),
        ] {
            let shape = bf_conv_shape(
                height: Int32(height), width: Int32(width),
                out_height: Int32((height + top + bottom - kernel) / stride + 1),
                out_width: Int32((width + left + right - kernel) / stride + 1), kernel_height: Int32(kernel),
                kernel_width: Int32(kernel), stride: Int32(stride), pad_top: Int32(top), pad_left: Int32(left)
            )
            let channels = 2
            let pixels = Int(shape.out_height * shape.out_width), taps = channels * kernel * kernel
            let x = normal([channels * height * width]).values
            for (first, count) in [(0, pixels), (1, pixels - 1), (pixels / 3, pixels / 2), (pixels - 1, 1)] {
                let ld = count + 3
                let got = floats(taps * ld) { table.kernels.im2col(x, $0, shape, channels, first, count, ld) }
                let expected = floats(taps * ld) {
                    reference.im2col(x, $0, shape, channels, first, count, ld)
                }
                #expect(got == expected, "\(shape) \(first) \(count)")
            }
            let columns = normal([taps * pixels], stream: 1).values
            expectClose(
                floats(channels * height * width) { table.kernels.col2im(columns, $0, shape, channels) },
                floats(channels * height * width) { reference.col2im(columns, $0, shape, channels) }, .exact,
                "col2im \(shape)")
        }
    }
}

@Suite struct HalfPrecisionTests {
    static let allPatterns = (0...UInt16.max).map { $0 }

    @Test("all 65536 patterns decode exactly", arguments: KernelTable.available)
    func decoding(table: KernelTable) {
        let n = Self.allPatterns.count
        let half = floats(n) { table.kernels.float_from_half(Self.allPatterns, $0, n) }
        let expectedHalf = floats(n) { reference.float_from_half(Self.allPatterns, $0, n) }
        #expect(half.map(\.bitPattern) == expectedHalf.map(\.bitPattern))
        #if !(os(macOS) && arch(x86_64))
            #expect(
                zip(Self.allPatterns, half).allSatisfy {
                    let native = Float(Float16(bitPattern: $0))
                    return native.isNaN ? $1.isNaN : native.bitPattern == $1.bitPattern
                })
        #endif
        let bfloat = floats(n) { table.kernels.float_from_bfloat(Self.allPatterns, $0, n) }
        let expectedBfloat = floats(n) { reference.float_from_bfloat(Self.allPatterns, $0, n) }
        #expect(bfloat.map(\.bitPattern) == expectedBfloat.map(\.bitPattern))
        #expect(zip(Self.allPatterns, bfloat).allSatisfy { UInt32($0) << 16 == $1.bitPattern })
    }

    @Test("decoding and encoding restores every pattern", arguments: KernelTable.available)
    func roundTrip(table: KernelTable) {
        let n = Self.allPatterns.count
        let half = floats(n) { table.kernels.float_from_half(Self.allPatterns, $0, n) }
        let bfloat = floats(n) { table.kernels.float_from_bfloat(Self.allPatterns, $0, n) }
        let again = output([UInt16](repeating: 0, count: n), guarded: 0xABCD) {
            table.kernels.half_from_float(half, $0, n)
        }
        let againBfloat = output([UInt16](repeating: 0, count: n), guarded: 0xABCD) {
            table.kernels.bfloat_from_float(bfloat, $0, n)
        }
        for i in 0..<n where !half[i].isNaN { #expect(again[i] == Self.allPatterns[i]) }
        for i in 0..<n where !bfloat[i].isNaN { #expect(againBfloat[i] == Self.allPatterns[i]) }
        #expect((0..<n).allSatisfy { !half[$0].isNaN || (again[$0] & 0x7fff > 0x7c00) })
        #expect((0..<n).allSatisfy { !bfloat[$0].isNaN || (againBfloat[$0] & 0x7fff > 0x7f80) })
    }

    /// 16-bit floats, the midpoints above each (ties), and their Float32 neighbors.
    static let roundingCases: [Float] = {
        let patterns = stride(from: 0, through: 0xfffe, by: 1).map(UInt16.init)
        var cases: [Float] = [
            0, -0.0, .infinity, -.infinity, .leastNonzeroMagnitude, .greatestFiniteMagnitude,
        ]
        cases += [65519.996, 65520, 65504, 65505, -65520, 0x1p-24, 0x1p-25, 0x1.8p-25, 0x1p-26, 0x1.ffcp-15]
        for pattern in patterns where pattern % 7 == 0 || pattern & 0x7fff < 16 {
            let half = [pattern, pattern + 1].map { bits in
                floats(1) { reference.float_from_half([bits], $0, 1) }[0]
            }
            let bfloat = [pattern, pattern + 1].map { Float(bitPattern: UInt32($0) << 16) }
            for pair in [half, bfloat] where pair.allSatisfy(\.isFinite) {
                let middle = Float((Double(pair[0]) + Double(pair[1])) / 2)
                cases += [middle, middle.nextUp, middle.nextDown]
            }
        }
        return cases
    }()

    @Test("encoding rounds ties to even, through subnormals and overflow", arguments: KernelTable.available)
    func encoding(table: KernelTable) {
        let x = Self.roundingCases, n = x.count
        #expect(n > 10_000)
        let none = [UInt16](repeating: 0, count: n)
        let half = output(none, guarded: 0xABCD) { table.kernels.half_from_float(x, $0, n) }
        let expectedHalf = output(none, guarded: 0xABCD) { reference.half_from_float(x, $0, n) }
        for i in 0..<n where half[i] != expectedHalf[i] {
            Issue.record("half of \(x[i]): \(half[i]), reference \(expectedHalf[i])")
        }
        let bfloat = output(none, guarded: 0xABCD) { table.kernels.bfloat_from_float(x, $0, n) }
        let expectedBfloat = output(none, guarded: 0xABCD) { reference.bfloat_from_float(x, $0, n) }
        for i in 0..<n where bfloat[i] != expectedBfloat[i] {
            Issue.record("bfloat of \(x[i]): \(bfloat[i]), reference \(expectedBfloat[i])")
        }
        #if !(os(macOS) && arch(x86_64))
            #expect((0..<n).allSatisfy { Float16(x[$0]).bitPattern == half[$0] })
        #endif
    }

    @Test("NaN keeps its sign, quiet or signaling", arguments: KernelTable.available)
    func notANumber(table: KernelTable) {
        let patterns: [UInt32] = [
            0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xff80_0001, 0x7fff_ffff, 0x7f80_8000,
        ]
        let x = patterns.map(Float.init(bitPattern:)), n = x.count
        let none = [UInt16](repeating: 0, count: n)
        let half = output(none, guarded: 0xABCD) { table.kernels.half_from_float(x, $0, n) }
        let bfloat = output(none, guarded: 0xABCD) { table.kernels.bfloat_from_float(x, $0, n) }
        for i in 0..<n {
            #expect(half[i] & 0x7fff > 0x7c00 && half[i] >> 15 == UInt16(patterns[i] >> 31))
            #expect(bfloat[i] & 0x7fff > 0x7f80 && bfloat[i] >> 15 == UInt16(patterns[i] >> 31))
        }
    }

    @Test("conversions agree for every awkward length", arguments: KernelTable.available, awkwardLengths)
    func lengths(table: KernelTable, n: Int) {
        let x = normal([n]).values, none = [UInt16](repeating: 0, count: n)
        let half = output(none, guarded: 0xABCD) { reference.half_from_float(x, $0, n) }
        #expect(output(none, guarded: 0xABCD) { table.kernels.half_from_float(x, $0, n) } == half)
        #expect(
            floats(n) { table.kernels.float_from_half(half, $0, n) }
                == floats(n) { reference.float_from_half(half, $0, n) })
        let bfloat = output(none, guarded: 0xABCD) { reference.bfloat_from_float(x, $0, n) }
        #expect(output(none, guarded: 0xABCD) { table.kernels.bfloat_from_float(x, $0, n) } == bfloat)
        #expect(
            floats(n) { table.kernels.float_from_bfloat(bfloat, $0, n) }
                == floats(n) { reference.float_from_bfloat(bfloat, $0, n) })
    }

    @Test("a half-precision weight decodes to what was encoded", arguments: [ElementType.float16, .bfloat16])
    func weights(type: ElementType) {
        let x = normal([3, 5])
        let bits = x.withUnsafeBufferPointer { Float16Bits.encode($0, type) }
        let weight = Weight16(name: "w", bits: bits, shape: [3, 5], type: type)
        #expect(weight.parameters.isEmpty && !weight.tensor().requiresGradient)
        // Half an ulp: 11 and 8 significant bits.
        expectClose(weight.tensor(), x, type == .float16 ? .float16Rounding : .bfloat16Rounding)
    }
}
