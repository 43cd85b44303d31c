// SPDX-License-Identifier: Apache-2.0
// Shared by the kernel tests: the tables that this processor supports, awkward lengths, buffers with guard zones.

import CKernels
import Testing

@testable import Tensors

/// A table of kernels under test, named by its instruction set.
struct KernelTable: Sendable, CustomTestStringConvertible {
    let name: String
    nonisolated(unsafe) let table: UnsafePointer<bf_kernel_table>

    var kernels: bf_kernel_table { table.pointee }

    var testDescription: String { name }

    /// Every vectorized table that this processor supports.
    static let available: [KernelTable] = ["portable", "avx2", "avx512"].compactMap { name in
        bf_kernels_named(name).map { KernelTable(name: name, table: $0) }
    }
}

/// The scalar reference kernels.
nonisolated(unsafe) let referenceTable: UnsafePointer<bf_kernel_table> = bf_reference()
nonisolated(unsafe) let reference: bf_kernel_table = referenceTable.pointee

/// Lengths around vector widths and unrolled blocks, including 0; 4097 exceeds the block length of sums.
let awkwardLengths = [0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 63, 67, 4097]

/// Runs `body` on a buffer that holds `initial` and returns its contents. Writes outside the buffer are reported.
func output<T: Equatable & BitwiseCopyable>(
    _ initial: [T], guarded guardValue: T, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: (UnsafeMutablePointer<T>) -> Void
) -> [T] {
    let zone = 19
    let margin = [T](repeating: guardValue, count: zone)
    var buffer = margin + initial + margin
    buffer.withUnsafeMutableBufferPointer { all in
        guard let base = all.baseAddress else { return }
        body(base + zone)
    }
    #expect(
        Array(buffer.prefix(zone)) == margin && Array(buffer.suffix(zone)) == margin,
        "wrote outside \(initial.count) elements", sourceLocation: sourceLocation)
    return Array(buffer.dropFirst(zone).dropLast(zone))
}

/// The same for Float32, starting from `initial` or zeros.
func floats(
    _ count: Int, from initial: [Float]? = nil, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: (UnsafeMutablePointer<Float>) -> Void
) -> [Float] {
    output(
        initial ?? [Float](repeating: 0, count: count), guarded: 12345.5, sourceLocation: sourceLocation, body
    )
}
