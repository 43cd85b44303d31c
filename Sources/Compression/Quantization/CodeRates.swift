// SPDX-License-Identifier: Apache-2.0
// The rate-distortion curve of a layer's weights: entropy of the codes and error of the weights, for grids of several
// sizes and dead zones.

import Foundation
import Recipes
import Tensors

extension CodeRate {
    /// The grids of a curve. On Gaussian weights, wider dead zones than those listed have about the error of the next
    /// coarser grid at the same entropy; three levels have no coarser grid, so theirs go on.
    static let grids: [(bits: Int, deadZones: [Float])] = [
        (1, [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9]),
        (2, [0.5, 0.55, 0.6, 0.65, 0.7]),
        (3, [0.5, 0.55, 0.6]),
        (4, [0.5, 0.55]),
        (5, [0.5]),
        (6, [0.5]),
        (7, [0.5]),
        (8, [0.5]),
    ]

    /// The rate-distortion curve of `weight`, with the paper's initial scales.
    ///
    /// - Parameter weight: `[OC, ...]`, finite.
    /// - Returns: one point for each grid.
    public static func curve(of weight: Tensor) -> [CodeRate] {
        grids.flatMap { bits, deadZones in
            deadZones.map { CodeRate(of: weight, on: QuantizationGrid(BitWidth(bits)).withDeadZone($0)) }
        }
    }

    /// Quantizes `weight` on `grid`, with the paper's initial scales.
    init(of weight: Tensor, on grid: QuantizationGrid) {
        let scales = ScaleInitialization.paper.scales(of: weight, grid: grid)
        let (channels, rowLength) = checkedRows(weight, scales)
        // Per channel, so that sums do not depend on the number of threads.
        var (squares, errors) = ([Double](repeating: 0, count: channels), [Double](repeating: 0, count: channels))
        squares.withUnsafeMutableBufferPointer { squares in
            errors.withUnsafeMutableBufferPointer { errors in
                nonisolated(unsafe) let (squares, errors) = (squares, errors)
                forEachRow(channels, rowLength) { channel in
                    let row = UnsafeBufferPointer(start: weight.row(channel * rowLength), count: rowLength)
                    let scale = Double(scales[channel])
                    let products = GridQuantizer.products(row, scale: scales[channel], grid: grid)
                    squares[channel] = row.reduce(0) { $0 + Double($1) * Double($1) }
                    // ‖s·q − w‖², from its products.
                    let error =
                        squares[channel]
                        + scale * (scale * products.codesWithCodes - 2 * products.weightsWithCodes)
                    errors[channel] = max(error, 0)
                }
            }
        }
        let total = squares.reduce(0, +)
        self.init(
            bits: grid.bits, deadZone: grid.deadZone,
            entropy: Self.entropy(of: GridQuantizer.codes(of: weight, scales: scales, grid: grid), on: grid),
            weightError: total > 0 ? errors.reduce(0, +) / total : 0)
    }

    /// The entropy of codes on `grid`, in bits per code.
    static func entropy(of codes: [Int16], on grid: QuantizationGrid) -> Double {
        let (levels, part) = (grid.levels, weightsPerTask)
        let parts = (codes.count + part - 1) / part
        var counts = [Int](repeating: 0, count: parts * levels)
        counts.withUnsafeMutableBufferPointer { counts in
            nonisolated(unsafe) let counts = counts
            Threads.parallelFor(parts) { range in
                for index in range {
                    for code in codes[index * part..<min((index + 1) * part, codes.count)] {
                        counts[index * levels + Int(code) - grid.minimumCode] += 1
                    }
                }
            }
        }
        return entropy((0..<levels).map { level in (0..<parts).reduce(0) { $0 + counts[$1 * levels + level] } })
    }

    /// The entropy in bits of a symbol with these counts; 0 without symbols.
    static func entropy(_ counts: [Int]) -> Double {
        let total = Double(counts.reduce(0, +))
        return counts.reduce(0) { sum, count in
            guard count > 0 else { return sum }
            let share = Double(count) / total
            return sum - share * log2(share)
        }
    }
}
