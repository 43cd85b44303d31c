// SPDX-License-Identifier: Apache-2.0
// Scales before training: min-max, and the paper's alternating optimization
// (BitsFusion, arXiv:2406.04333, section 4.1 and appendix), one scale per output channel.

import Tensors

/// How scales are computed from full-precision weights.
public enum ScaleInitialization: Hashable, Sendable {
    /// s = max|w| / m, with the largest code m of the grid: 2^(b-1), or 127 for 255 levels.
    case minMax
    /// Rounds of q = clip(round(w / s)), s = ⟨w, q⟩ / ⟨q, q⟩, starting from min-max.
    case alternating(rounds: Int)

    /// The paper's: ten rounds.
    public static let paper = ScaleInitialization.alternating(rounds: 10)

    /// The scales of `weight`, one per output channel.
    ///
    /// Each round computes the nearest codes for the scale, then the optimal scale for the codes, so that ‖s·q − w‖²
    /// never increases. The scale of a channel of zeros is 1; all scales represent it exactly.
    ///
    /// - Parameters:
    ///   - weight: `[OC, ...]`, finite.
    ///   - grid: the grid of the codes.
    /// - Returns: `[OC]`, each > 0, in units of the weights.
    public func scales(of weight: Tensor, grid: BalancedGrid) -> Tensor {
        precondition(weight.rank >= 1, "scales: weight \(weight.shape) has no output channels")
        let channels = weight.shape[0]
        let rowLength = channels == 0 ? 0 : weight.count / channels
        let result = Tensor(unsafeUninitialized: [channels])
        let maximumCode = Float(grid.maximumCode)
        result.withUnsafeMutableBufferPointer { scales in
            weight.withUnsafeBufferPointer { values in
                nonisolated(unsafe) let (scales, values) = (scales, values)
                forEachRow(channels, rowLength) { channel in
                    let row = UnsafeBufferPointer(rebasing: values[channel * rowLength..<(channel + 1) * rowLength])
                    scales[channel] = scale(of: row, maximumCode: maximumCode)
                }
            }
        }
        return result
    }

    private func scale(of row: UnsafeBufferPointer<Float>, maximumCode: Float) -> Float {
        let largest = row.reduce(0) { max($0, abs($1)) }
        guard largest > 0 else { return 1 }
        var scale = max(largest / maximumCode, .leastNormalMagnitude)
        guard case .alternating(let rounds) = self else { return scale }
        for _ in 0..<rounds {
            let products = BalancedQuantizer.products(row, scale: scale, maximumCode: maximumCode)
            guard products.codesWithCodes > 0, products.weightsWithCodes > 0 else { break }
            let next = Float(products.weightsWithCodes / products.codesWithCodes)
            guard next.isNormal, next != scale else { break }
            scale = next
        }
        return scale
    }
}
