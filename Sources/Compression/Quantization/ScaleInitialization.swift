// SPDX-License-Identifier: Apache-2.0
// Scales before training: min-max, the paper's alternating optimization, and the search over a list of scales that it
// is compared with (BitsFusion, arXiv:2406.04333, section 4.1 and appendix), one scale per output channel.

import Tensors

/// How scales are computed from full-precision weights.
public enum ScaleInitialization: Hashable, Sendable {
    /// s = max|w| / m, with the largest code m of the grid: 2^(b-1), or 127 for 255 levels. On LSQ's grid of L levels,
    /// which is not balanced, s = (max w - min w) / (L - 1).
    case minMax
    /// Rounds of q = clip(round(w / s)), s = ⟨w, q⟩ / ⟨q, q⟩, starting from min-max.
    case alternating(rounds: Int)
    /// The scale with the smallest ‖s·q − w‖² of k/n times that of min-max, k = 1 ... n.
    case search(candidates: Int)

    /// The paper's: ten rounds.
    public static let paper = ScaleInitialization.alternating(rounds: 10)
    /// The search that the paper compares with: 80 scales.
    public static let paperSearch = ScaleInitialization.search(candidates: 80)

    /// The scales of `weight`, one per output channel.
    ///
    /// Each round computes the codes for the scale, then the optimal scale for the codes. Without a dead zone the codes
    /// are the nearest ones, so that ‖s·q − w‖² never increases. The scale of a channel of zeros is 1; all scales
    /// represent it exactly.
    ///
    /// - Parameters:
    ///   - weight: `[OC, ...]`, finite.
    ///   - grid: the grid of the codes.
    /// - Returns: `[OC]`, each > 0, in units of the weights.
    public func scales(of weight: Tensor, grid: QuantizationGrid) -> Tensor {
        precondition(weight.rank >= 1, "scales: weight \(weight.shape) has no output channels")
        let channels = weight.shape[0]
        let rowLength = channels == 0 ? 0 : weight.count / channels
        let result = Tensor(unsafeUninitialized: [channels])
        result.withUnsafeMutableBufferPointer { scales in
            weight.withUnsafeBufferPointer { values in
                nonisolated(unsafe) let (scales, values) = (scales, values)
                forEachRow(channels, rowLength) { channel in
                    let row = UnsafeBufferPointer(rebasing: values[channel * rowLength..<(channel + 1) * rowLength])
                    scales[channel] = scale(of: row, grid: grid)
                }
            }
        }
        return result
    }

    private func scale(of row: UnsafeBufferPointer<Float>, grid: QuantizationGrid) -> Float {
        let (smallest, largest) = row.reduce((0, 0)) { (min($0.0, $1), max($0.1, $1)) }
        guard smallest < largest else { return 1 }
        let range =
            grid.isBalanced
            ? max(-smallest, largest) / Float(grid.maximumCode) : (largest - smallest) / Float(grid.levels - 1)
        let largestScale = max(range, .leastNormalMagnitude)
        switch self {
        case .minMax: return largestScale
        case .alternating(let rounds): return alternated(largestScale, rounds, row, grid)
        case .search(let candidates): return best(of: candidates, upTo: largestScale, row, grid)
        }
    }

    private func alternated(
        _ start: Float, _ rounds: Int, _ row: UnsafeBufferPointer<Float>, _ grid: QuantizationGrid
    ) -> Float {
        var scale = start
        for _ in 0..<rounds {
            let products = GridQuantizer.products(row, scale: scale, grid: grid)
            guard products.codesWithCodes > 0, products.weightsWithCodes > 0 else { break }
            let next = Float(products.weightsWithCodes / products.codesWithCodes)
            guard next.isNormal, next != scale else { break }
            scale = next
        }
        return scale
    }

    private func best(
        of candidates: Int, upTo largest: Float, _ row: UnsafeBufferPointer<Float>, _ grid: QuantizationGrid
    ) -> Float {
        var (best, smallestError) = (largest, Double.infinity)
        for candidate in 1...max(candidates, 1) {
            let scale = max(largest * Float(candidate) / Float(max(candidates, 1)), .leastNormalMagnitude)
            let products = GridQuantizer.products(row, scale: scale, grid: grid)
            // ‖s·q − w‖² without ‖w‖², which all candidates share.
            let error = Double(scale) * (Double(scale) * products.codesWithCodes - 2 * products.weightsWithCodes)
            if error < smallestError { (best, smallestError) = (scale, error) }
        }
        return best
    }
}
