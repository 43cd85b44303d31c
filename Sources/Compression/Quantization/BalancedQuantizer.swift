// SPDX-License-Identifier: Apache-2.0
// Weights to codes and back on a balanced grid, and the inner products that the optimal scale needs.

import Tensors

/// Rounding to a balanced grid, one scale per output channel.
public enum BalancedQuantizer {
    /// codes = clip(round(w / s), -2^(b-1), 2^(b-1)), rounding half to even.
    ///
    /// - Parameters:
    ///   - weight: `[OC, ...]`, finite.
    ///   - scales: `[OC]`, > 0.
    ///   - grid: the codes to be used.
    /// - Returns: as many codes as weights, row-major.
    public static func codes(of weight: Tensor, scales: Tensor, grid: BalancedGrid) -> [Int16] {
        let (channels, width) = checkedRows(weight, scales)
        return [Int16](unsafeUninitializedCapacity: weight.count) { codes, initialized in
            initialized = weight.count
            nonisolated(unsafe) let codes = codes
            forEachRow(channels, width) { channel in
                kernels.quantize(
                    weight.row(channel * width), scales[channel], Float(grid.maximumCode),
                    codes.baseAddress.map { $0 + channel * width }, width)
            }
        }
    }

    /// s · codes, the dense weight of `shape` `[OC, ...]`.
    public static func dequantize(_ codes: UnsafeBufferPointer<Int16>, scales: Tensor, shape: [Int]) -> Tensor {
        let result = Tensor(unsafeUninitialized: shape)
        let (channels, width) = checkedRows(result, scales)
        precondition(codes.count == result.count, "dequantize: \(codes.count) codes for shape \(shape)")
        nonisolated(unsafe) let codes = codes
        forEachRow(channels, width) { channel in
            kernels.dequantize(
                codes.baseAddress.map { $0 + channel * width }, scales[channel],
                result.mutableRow(channel * width), width)
        }
        return result
    }

    /// ⟨w, q⟩ and ⟨q, q⟩ for the codes q that `scale` gives `row`.
    static func products(
        _ row: UnsafeBufferPointer<Float>, scale: Float, maximumCode: Float
    ) -> (weightsWithCodes: Double, codesWithCodes: Double) {
        var (wq, qq) = (0.0, 0.0)
        kernels.quantize_products(row.baseAddress, scale, maximumCode, &wq, &qq, row.count)
        return (wq, qq)
    }
}
