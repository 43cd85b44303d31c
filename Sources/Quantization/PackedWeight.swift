// SPDX-License-Identifier: Apache-2.0
// The weight of a packed layer: codes stay packed in memory and are decoded at each use.

import Packing
import Recipes
import Tensors

/// A frozen weight held as packed codes and one scale per output channel.
public final class PackedWeight: WeightSource, @unchecked Sendable {
    public let shape: [Int]
    public let grid: BalancedGrid
    public let encoding: PackingEncoding
    /// Packed codes, row-major; see `Packing` for the layout.
    public let codes: [UInt8]
    /// `[OC]`, each > 0.
    public let scales: Tensor

    /// Checks that the codes decode, once, so that later uses cannot fail.
    ///
    /// - Throws: `PackingError` where `codes` are not `encoding`'s bytes of that many codes of the grid.
    /// - Precondition: one scale per output channel.
    public init(
        shape: [Int], width: BitWidth, encoding: PackingEncoding, codes: [UInt8], scales: Tensor
    ) throws(PackingError) {
        precondition(scales.shape == [shape.first ?? 0], "packed weight \(shape): scales \(scales.shape)")
        self.shape = shape
        grid = BalancedGrid(width)
        self.encoding = encoding
        self.codes = codes
        self.scales = scales
        _ = try unpacked()
    }

    public var parameters: [Parameter] { [] }

    public func tensor() -> Tensor {
        do {
            return BalancedQuantizer.dequantize(try unpacked(), scales: scales, shape: shape)
        } catch {
            preconditionFailure("packed weight \(shape): codes that decoded at load no longer do: \(error)")
        }
    }

    /// The signed codes, row-major.
    public func unpacked() throws(PackingError) -> [Int16] {
        try unpackCodes(codes, count: shape.reduce(1, *), levels: grid.levels, encoding: encoding)
    }
}

extension BalancedQuantizer {
    /// As the buffer version, for an array.
    public static func dequantize(_ codes: [Int16], scales: Tensor, shape: [Int]) -> Tensor {
        codes.withUnsafeBufferPointer { dequantize($0, scales: scales, shape: shape) }
    }
}
