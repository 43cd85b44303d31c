// SPDX-License-Identifier: Apache-2.0
// The weight of a packed layer, with low-bit codes in memory. The codes are multiplied with activations quantized to
// int8, or decoded row by row for operations on floats.

import Packing
import Recipes
import Synchronization
import Tensors

/// The type that the inputs of packed layers are quantized to.
public enum ActivationType: String, CaseIterable, Sendable {
    /// 8-bit integers, by dynamic quantization with one scale for each token or pixel.
    case int8
    /// Float32: no quantization.
    case float32 = "fp32"
}

/// A frozen weight stored as low-bit codes and one scale per output channel.
public final class PackedWeight: QuantizedWeight {
    public let shape: [Int]
    public let grid: QuantizationGrid
    /// `[OC]`, each > 0.
    public let scales: Tensor
    private let content: Content
    private let usesIntegers = Atomic<Bool>(true)

    private enum Content: Sendable {
        case panels(IntegerMatrix)
        /// Signed codes with more levels than the integer kernels support: the 257 of the paper's grid of 8 nominal
        /// bits.
        case codes([Int16])
    }

    /// Decodes and checks `codes`.
    ///
    /// - Throws: `PackingError` if `codes` are not the encoded codes of a weight of this shape and grid.
    /// - Precondition: `scales` is `[OC]`, one scale per output channel.
    public init(
        shape: [Int], grid: QuantizationGrid, encoding: PackingEncoding, codes: [UInt8], scales: Tensor
    ) throws(PackingError) {
        precondition(scales.shape == [shape.first ?? 0], "packed weight \(shape): scales \(scales.shape)")
        self.shape = shape
        self.scales = scales
        self.grid = grid
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

    /// The type of the layer's inputs. Layers with the paper's grid of 8 bits, whose 257 levels do not fit into a byte,
    /// always compute in Float32: these are the first and last layer, whose inputs the paper does not quantize either.
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
        case .codes(let codes): GridQuantizer.dequantize(codes, scales: scales, shape: shape)
        }
    }

    /// The signed codes, row-major.
    public var codes: [Int16] {
        switch content {
        case .panels(let matrix): matrix.codes().map { Int16($0) - Int16(grid.maximumCode) }
        case .codes(let codes): codes
        }
    }

    /// The memory of the codes, in bytes.
    public var codeBytes: Int {
        switch content {
        case .panels(let matrix): matrix.byteCount
        case .codes(let codes): codes.count * MemoryLayout<Int16>.stride
        }
    }
}

extension GridQuantizer {
    /// Dequantizes an array; see the function on buffers.
    public static func dequantize(_ codes: [Int16], scales: Tensor, shape: [Int]) -> Tensor {
        codes.withUnsafeBufferPointer { dequantize($0, scales: scales, shape: shape) }
    }
}
