// SPDX-License-Identifier: Apache-2.0
// Weights that are stored in memory as low-bit codes, in panels that integer kernels read. A code takes 2 bits for up
// to 4 levels, 4 bits for up to 16 levels, otherwise 8 bits (at most 255 levels).

import CKernels

/// A weight `[OC, IC]` or `[OC, IC, KH, KW]` of codes 0..<L, which represent -(L-1)/2 ... (L-1)/2.
public final class IntegerMatrix: Sendable {
    public let shape: [Int]
    /// L, odd.
    public let levels: Int
    let layout: bf_integer_shape
    let panels: Storage

    /// Whether integer kernels support `levels` levels and a weight of `shape`.
    public static func supports(levels: Int, shape: [Int]) -> Bool {
        levels % 2 == 1 && bf_integer_bits(Int32(clamping: levels)) != 0
            && (shape.count == 2 || shape.count == 4) && shape.allSatisfy { $0 > 0 }
            && shape[1] <= Int(BF_INTEGER_MAX_INPUTS)
    }

    /// Packs the codes that `fill` writes: row-major, each below `levels`.
    ///
    /// - Throws: the error of `fill`.
    /// - Precondition: `supports(levels:shape:)`.
    public init<Failure: Error>(
        levels: Int, shape: [Int], fill: (UnsafeMutableBufferPointer<UInt8>) throws(Failure) -> Void
    ) throws(Failure) {
        precondition(Self.supports(levels: levels, shape: shape), "\(levels) levels in a weight \(shape)")
        self.shape = shape
        self.levels = levels
        layout = bf_integer_shape(
            bits: bf_integer_bits(Int32(levels)), levels: Int32(levels), offset: Int32((levels - 1) / 2),
            outputs: shape[0], segments: shape.dropFirst(2).reduce(1, *), inputs: shape[1])
        // From the pool, so that all layers are decoded into the same memory pages.
        let count = shape.reduce(1, *)
        let scratch = Storage(byteCount: count)
        try fill(UnsafeMutableBufferPointer(start: scratch.bytes, count: count))
        panels = Storage(byteCount: bf_integer_panel_bytes(layout))
        let (layout, strides, codes, target) = (layout, strides, scratch.bytes, panels.bytes)
        Threads.parallelFor(panelCount, grain: grain) { range in
            integerKernels.pack_panels(codes, strides, layout, range.lowerBound, range.count, target)
        }
        withExtendedLifetime(scratch) {}
    }

    /// Packs codes, row-major.
    ///
    /// - Precondition: `supports(levels:shape:)`; the number of codes matches `shape`; each is below `levels`.
    public convenience init(_ codes: [UInt8], levels: Int, shape: [Int]) {
        precondition(codes.count == shape.reduce(1, *), "\(codes.count) codes for a weight \(shape)")
        self.init(levels: levels, shape: shape) { _ = $0.update(fromContentsOf: codes) }
    }

    /// The codes 0..<L, row-major.
    public func codes() -> [UInt8] {
        let count = shape.reduce(1, *)
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            initialized = count
            guard let codes = buffer.baseAddress else { return }
            Threads.parallelFor(panelCount, grain: grain) { range in
                integerKernels.unpack_panels(
                    panels.bytes, layout, range.lowerBound, range.count, codes, strides)
            }
        }
    }

    /// The dense weight: codes times the scales `[OC]` of their output channels. Rows are computed when they are read.
    public func weight(scales: Tensor) -> Tensor {
        precondition(scales.shape == [shape[0]], "scales \(scales.shape) for a weight \(shape)")
        return Tensor(shape) { [self] rows, values in
            integerKernels.decode_rows(
                panels.bytes, layout, rows.lowerBound, rows.count, scales.pointer, values, strides)
        }
    }

    /// Size of the panels in bytes.
    public var byteCount: Int { bf_integer_panel_bytes(layout) }

    var panelCount: Int { bf_integer_panels(layout.outputs) }

    /// Strides of row-major codes, in which all taps of an input channel are contiguous.
    private var strides: bf_integer_strides {
        bf_integer_strides(
            output: layout.inputs * layout.segments, segment: 1, input: layout.segments)
    }

    /// Minimum number of panels that a task packs.
    private var grain: Int {
        max((1 << 18) / max(layout.inputs * layout.segments * Int(BF_INTEGER_PANEL), 1), 1)
    }
}

/// The weight of an integer product: codes, and one scale per output channel.
public struct IntegerWeight: Sendable {
    public let matrix: IntegerMatrix
    /// `[OC]`.
    public let scales: Tensor

    /// - Precondition: one scale per output channel.
    public init(_ matrix: IntegerMatrix, scales: Tensor) {
        precondition(
            scales.shape == [matrix.shape[0]], "scales \(scales.shape) for a weight \(matrix.shape)")
        self.matrix = matrix
        self.scales = scales
    }
}
