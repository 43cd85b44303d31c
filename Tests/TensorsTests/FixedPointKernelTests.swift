// SPDX-License-Identifier: Apache-2.0
// Fixed-point kernels of every table against the scalar reference: the same bits.

import CKernels
import TestKit
import Testing

@testable import Tensors

@Suite struct FixedPointKernelTests {
    private func sum(
        _ kernels: bf_kernel_table, _ x: [Float], scale: Float, onto start: [Int32]? = nil
    ) -> (sums: [Int32], largest: UInt32) {
        var sums = start ?? Array(repeating: 77, count: x.count)
        let largest = kernels.fixed_point_add(&sums, x, scale, start == nil, x.count)
        return (sums, largest)
    }

    @Test("sums are those of the scalar reference", arguments: KernelTable.available, awkwardLengths)
    func sums(table: KernelTable, n: Int) {
        let x = normal([n], stream: 1).values, start = (0..<n).map { Int32($0 * 1_000_003 % 2001) - 1000 }
        for scale in [0x1p-20, 1, 0x1p20, 0x1p29, 0x1p40] as [Float] {
            for onto in [nil, start] {
                let found = sum(table.kernels, x, scale: scale, onto: onto)
                let expected = sum(reference, x, scale: scale, onto: onto)
                #expect(found.sums == expected.sums, "\(scale)")
                #expect(found.largest == expected.largest)
            }
        }
        let largest = x.map(abs).max() ?? 0
        #expect(sum(table.kernels, x, scale: 1).largest == largest.bitPattern)
    }

    @Test("halves are rounded to even, large values are limited, sums wrap", arguments: KernelTable.available)
    func rounding(table: KernelTable) {
        let x: [Float] = [0.5, 1.5, 2.5, -0.5, -1.5, 3e9, -3e9, 0]
        #expect(sum(table.kernels, x, scale: 1).sums == [0, 2, 2, 0, -2, 2_147_483_520, -2_147_483_520, 0])
        #expect(sum(table.kernels, [1e9], scale: 1, onto: [2_000_000_000]).sums == [-1_294_967_296])
    }

    @Test("infinities and NaNs have the largest bits", arguments: KernelTable.available)
    func notFinite(table: KernelTable) {
        for n in [1, 5, 64, 100] {
            for value in [Float.infinity, -.infinity, .nan] {
                var x = [Float](repeating: 1, count: n)
                x[n / 2] = value
                #expect(sum(table.kernels, x, scale: 1).largest >= 0x7f80_0000)
                #expect(sum(reference, x, scale: 1).largest >= 0x7f80_0000)
            }
        }
    }

    @Test(
        "values of sums are those of the scalar reference, also in place", arguments: KernelTable.available,
        awkwardLengths)
    func values(table: KernelTable, n: Int) {
        let sums = (0..<n).map { Int32(truncatingIfNeeded: $0 &* 2_654_435_761) }
        for scale in [0x1p-31, 1, 0x1p60] as [Float] {
            let expected = floats(n) { reference.float_from_fixed_point(sums, scale, $0, n) }
            let found = floats(n) { table.kernels.float_from_fixed_point(sums, scale, $0, n) }
            expectClose(found, expected, .exact)
            let inPlace = floats(n, from: sums.map { Float(bitPattern: UInt32(bitPattern: $0)) }) { values in
                values.withMemoryRebound(to: Int32.self, capacity: n) {
                    table.kernels.float_from_fixed_point($0, scale, values, n)
                }
            }
            expectClose(inPlace, expected, .exact)
        }
    }
}
