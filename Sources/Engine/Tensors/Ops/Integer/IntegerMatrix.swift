// SPDX-License-Identifier: Apache-2.0
// Weights that stay codes of a few bits in memory, in the panels that integer kernels read: 2 bits up to 4 levels, 4 up to
// 16, else 8.

import CKernels

/// A weight `[OC, IC]` or `[OC, IC, KH, KW]` of codes 0..<L that stand for -(L-1)/2 ... (L-1)/2.
public final class IntegerMatrix: Sendable {
    public let shape: [Int]
    /// L, odd.
    public let levels: Int
    let layout: bf_integer_shape
    let panels: Storage

    /// Whether integer kernels take codes of `levels` values in a weight of `shape`.
    public static func supports(levels: Int, shape: [Int]) -> Bool {
        levels % 2 == 1 && bf_integer_bits(Int32(clamping: levels)) != 0
            && (shape.count == 2 || shape.count == 4) && shape.allSatisfy { $0 > 0 }
            && shape[1] <= Int(BF_INTEGER_MAX_INPUTS)
    }

    /// Packs the codes that `fill` writes, row-major, each below `levels`.
    ///
    /// - Throws: what `fill` throws.
    /// - Precondition: `supports(levels:shape:)`.
    public init<Failure: Error>(
        levels: Int, shape: [Int], fill: (UnsafeMutableBufferPointer<UInt8>) throws(Failure) -> Void
    ) throws(Failure) {
        precondition(Self.supports(levels: levels, shape: shape), "\(levels) levels in a weight \(shape)")
        self.shape = shape
        self.levels = levels
        layout = bf_integer_shape(
            bits: bf_integer_bits(Int32(levels)), offset: Int32((levels - 1) / 2), outputs: shape[0],
            segments: shape.dropFirst(2).reduce(1, *), inputs: shape[1])
        // From the pool: layer after layer is decoded into the same pages.
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
    /// - Precondition: `supports(levels:shape:)`; as many codes as `shape` holds, each below `levels`.
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

    /// The dense weight, a code times its channel's scale, of `scales` `[OC]`; rows are made as they are read.
    public func weight(scales: Tensor) -> Tensor {
        precondition(scales.shape == [shape[0]], "scales \(scales.shape) for a weight \(shape)")
        return Tensor(shape) { [self] rows, values in
            integerKernels.decode_rows(
                panels.bytes, layout, rows.lowerBound, rows.count, scales.pointer, values, strides)
        }
    }

    /// Bytes that the panels take.
    public var byteCount: Int { bf_integer_panel_bytes(layout) }

    var panelCount: Int { bf_integer_panels(layout.outputs) }

    /// Row-major codes: all taps of an input follow each other.
    private var strides: bf_integer_strides {
        bf_integer_strides(
            output: layout.inputs * layout.segments, segment: 1, input: layout.segments)
    }

    /// Panels that a thread packs at a time at least.
    private var grain: Int {
        max((1 << 18) / max(layout.inputs * layout.segments * Int(BF_INTEGER_PANEL), 1), 1)
    }
}

/// A weight that integer products read: codes, and one scale per output channel.
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

extension Storage {
    /// A block of bytes.
    convenience init(byteCount: Int) { self.init(count: (byteCount + 3) / 4) }

    var bytes: UnsafeMutablePointer<UInt8> {
        UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: UInt8.self)
    }
}
