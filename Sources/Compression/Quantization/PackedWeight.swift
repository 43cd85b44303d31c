// SPDX-License-Identifier: Apache-2.0
// The weight of a packed layer: codes stay low-bit in memory. They meet activations rounded to int8, or are decoded row
// by row where an operation reads them as floats.

import Packing
import Recipes
import Synchronization
import Tensors

/// What activations are rounded to before they meet the weights of a packed model.
public enum ActivationType: String, CaseIterable, Sendable {
    /// 8-bit integers, one scale for each token or pixel, found as they come.
    case int8
    /// Nothing: Float32.
    case float32 = "fp32"
}

/// A frozen weight held as low-bit codes and one scale per output channel.
public final class PackedWeight: QuantizedWeight {
    public let shape: [Int]
    public let grid: BalancedGrid
    /// `[OC]`, each > 0.
    public let scales: Tensor
    private let content: Content
    private let usesIntegers = Atomic<Bool>(true)

    private enum Content: Sendable {
        case panels(IntegerMatrix)
        /// Signed codes of more levels than integer kernels take: 8 nominal bits.
        case codes([Int16])
    }

    /// Decodes `codes` and checks each.
    ///
    /// - Throws: `PackingError` where `codes` are not `encoding`'s bytes of that many codes of the grid.
    /// - Precondition: one scale per output channel.
    public init(
        shape: [Int], width: BitWidth, encoding: PackingEncoding, codes: [UInt8], scales: Tensor
    ) throws(PackingError) {
        precondition(scales.shape == [shape.first ?? 0], "packed weight \(shape): scales \(scales.shape)")
        self.shape = shape
        self.scales = scales
        grid = BalancedGrid(width)
        let (levels, count) = (grid.levels, shape.reduce(1, *))
        if IntegerMatrix.supports(levels: levels, shape: shape) {
            let matrix = try IntegerMatrix(levels: levels, shape: shape) { stored throws(PackingError) in
                try codes.withUnsafeBufferPointer { bytes throws(PackingError) in
                    try unpackCodes(
                        UnsafeRawBufferPointer(bytes), levels: levels, encoding: encoding, into: stored)
                }
            }
            content = .panels(matrix)
        } else {
            content = .codes(try unpackCodes(codes, count: count, levels: levels, encoding: encoding))
        }
    }

    public var parameters: [Parameter] { [] }

    /// How activations meet this weight. Layers of 8 nominal bits, whose 257 levels are more than a byte holds, compute
    /// in Float32 always: in the paper the first and the last one, whose inputs it does not round either.
    public var activations: ActivationType {
        get { usesIntegers.load(ordering: .relaxed) ? .int8 : .float32 }
        set { usesIntegers.store(newValue == .int8, ordering: .relaxed) }
    }

    public var integer: IntegerWeight? {
        guard case .panels(let matrix) = content, activations == .int8 else { return nil }
        return IntegerWeight(matrix, scales: scales)
    }

    public func tensor() -> Tensor { lazyTensor().materialized() }

    public func lazyTensor() -> Tensor {
        switch content {
        case .panels(let matrix): matrix.weight(scales: scales)
        case .codes(let codes): BalancedQuantizer.dequantize(codes, scales: scales, shape: shape)
        }
    }

    /// The signed codes, row-major.
    public var codes: [Int16] {
        switch content {
        case .panels(let matrix): matrix.codes().map { Int16($0) - Int16(grid.maximumCode) }
        case .codes(let codes): codes
        }
    }

    /// Bytes that the codes take in memory.
    public var codeBytes: Int {
        switch content {
        case .panels(let matrix): matrix.byteCount
        case .codes(let codes): codes.count * MemoryLayout<Int16>.stride
        }
    }
}

extension BalancedQuantizer {
    /// As the buffer version, for an array.
    public static func dequantize(_ codes: [Int16], scales: Tensor, shape: [Int]) -> Tensor {
        codes.withUnsafeBufferPointer { dequantize($0, scales: scales, shape: shape) }
    }
}
