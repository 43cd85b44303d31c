// SPDX-License-Identifier: Apache-2.0
// Converts weights to codes on a grid and back; inner products for the optimal scale.

import Tensors

/// Rounding to a grid, one scale per output channel.
public enum GridQuantizer {
    /// codes = clip(round(v), `grid.minimumCode`, `grid.maximumCode`), rounding half to even, where v is w / s moved
    /// towards 0 by the part of the dead zone beyond 0.5.
    ///
    /// - Parameters:
    ///   - weight: `[OC, ...]`, finite.
    ///   - scales: `[OC]`, > 0.
    ///   - grid: the grid of the codes.
    /// - Returns: one code per weight, row-major.
    public static func codes(of weight: Tensor, scales: Tensor, grid: QuantizationGrid) -> [Int16] {
        let (channels, rowLength) = checkedRows(weight, scales)
        return [Int16](unsafeUninitializedCapacity: weight.count) { codes, initialized in
            initialized = weight.count
            nonisolated(unsafe) let codes = codes
            forEachRow(channels, rowLength) { channel in
                kernels.quantize(
                    weight.row(channel * rowLength), scales[channel], grid.range.low, grid.range.high, grid.shrink,
                    codes.baseAddress.map { $0 + channel * rowLength }, rowLength)
            }
        }
    }

    /// s · codes, the dense weight.
    ///
    /// - Parameters:
    ///   - codes: one code per weight, row-major.
    ///   - scales: `[OC]`.
    ///   - shape: `[OC, ...]`.
    /// - Returns: the shape `shape`.
    public static func dequantize(_ codes: UnsafeBufferPointer<Int16>, scales: Tensor, shape: [Int]) -> Tensor {
        let result = Tensor(unsafeUninitialized: shape)
        let (channels, rowLength) = checkedRows(result, scales)
        precondition(codes.count == result.count, "dequantize: \(codes.count) codes for shape \(shape)")
        nonisolated(unsafe) let codes = codes
        forEachRow(channels, rowLength) { channel in
            kernels.dequantize(
                codes.baseAddress.map { $0 + channel * rowLength }, scales[channel],
                result.mutableRow(channel * rowLength), rowLength)
        }
        return result
    }

    /// ⟨w, q⟩ and ⟨q, q⟩ for the codes q of `row` at `scale`.
    static func products(
        _ row: UnsafeBufferPointer<Float>, scale: Float, grid: QuantizationGrid
    ) -> (weightsWithCodes: Double, codesWithCodes: Double) {
        var (wq, qq) = (0.0, 0.0)
        kernels.quantize_products(
            row.baseAddress, scale, grid.range.low, grid.range.high, grid.shrink, &wq, &qq, row.count)
        return (wq, qq)
    }
}
