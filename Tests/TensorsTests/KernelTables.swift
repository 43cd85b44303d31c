// SPDX-License-Identifier: Apache-2.0
// What the kernel tests share: the tables that run here, awkward lengths, buffers with guard zones.

import CKernels
import Testing

@testable import Tensors

/// A table of kernels under test, named by its instruction set.
struct KernelTable: Sendable, CustomTestStringConvertible {
    let name: String
    nonisolated(unsafe) let kernels: bf_kernel_table

    var testDescription: String { name }

    /// Every vectorised table that this processor runs.
    static let available: [KernelTable] = ["portable", "avx2", "avx512"].compactMap { name in
        bf_kernels_named(name).map { KernelTable(name: name, kernels: $0.pointee) }
    }
}

/// The scalar twins.
nonisolated(unsafe) let reference: bf_kernel_table = bf_reference().pointee

/// Lengths around vector widths and unrolled blocks, empty included; 4097 passes the block of the sums.
let awkwardLengths = [0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 63, 67, 4097]

/// Runs `body` on a buffer of `count` elements, `initial` at first, and returns them; a write outside is
/// reported.
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

/// C arrays of function pointers arrive as tuples; as arrays they can be walked.
func entries<Tuple, Element>(of tuple: Tuple, as type: Element.Type) -> [Element] {
    withUnsafeBytes(of: tuple) { Array($0.bindMemory(to: Element.self)) }
}

typealias UnaryKernel = @convention(c) (UnsafePointer<Float>?, UnsafeMutablePointer<Float>?, Int) -> Void
typealias BinaryKernel =
    @convention(c) (UnsafePointer<Float>?, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?, Int) -> Void
typealias RightScalarKernel =
    @convention(c) (UnsafePointer<Float>?, Float, UnsafeMutablePointer<Float>?, Int) -> Void
typealias LeftScalarKernel =
    @convention(c) (Float, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?, Int) -> Void
