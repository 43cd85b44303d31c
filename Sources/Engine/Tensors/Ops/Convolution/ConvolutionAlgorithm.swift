// SPDX-License-Identifier: Apache-2.0
// Selection of the algorithm of a convolution by a cost model, in cycles of one core, that depends on the shape only.
// `bitsfusion-bench kernels` compares the selection with measured times.

import CKernels
import Foundation
import Synchronization

/// The algorithm of a convolution.
public enum ConvolutionAlgorithm: Hashable, Sendable, CustomStringConvertible {
    /// One matrix product with the patches of the image as columns; supports every shape.
    case columns
    /// F(m x m, 3 x 3) with m = 2 or 4: 2.25 or 4 times fewer multiplications.
    case winograd(Int)

    public var description: String {
        switch self {
        case .columns: "columns"
        case .winograd(let m): "winograd F(\(m)x\(m))"
        }
    }

    private static let winogradIsOn = Atomic<Bool>(
        ProcessInfo.processInfo.environment["BITSFUSION_WINOGRAD"] != "0")

    /// Whether Winograd's algorithms may be selected; `BITSFUSION_WINOGRAD=0` disables them.
    public static var usesWinograd: Bool {
        get { winogradIsOn.load(ordering: .relaxed) }
        set { winogradIsOn.store(newValue, ordering: .relaxed) }
    }

    /// Overrides the cost model for shapes that support the algorithm; for benchmarks and tests.
    @TaskLocal public static var forced: ConvolutionAlgorithm?

    static func forForward(_ geometry: ConvolutionGeometry, isWeightCached: Bool) -> ConvolutionAlgorithm {
        select(geometry) { ConvolutionCost(geometry).forward($0, isWeightCached: isWeightCached) }
    }

    static func forWeightGradient(_ geometry: ConvolutionGeometry) -> ConvolutionAlgorithm {
        select(geometry) { ConvolutionCost(geometry).weightGradient($0) }
    }

    /// The selection of the cost model for `x` ∗ `weight`, with shapes as in `conv2d`. `isWeightCached`: the weight is
    /// frozen, so that it is transformed once.
    public static func selected(
        x: [Int], weight: [Int], stride: Int = 1, padding: Padding, isWeightCached: Bool
    ) -> ConvolutionAlgorithm {
        forForward(
            ConvolutionGeometry(x, weight, stride: stride, padding: padding), isWeightCached: isWeightCached)
    }

    private static func select(
        _ geometry: ConvolutionGeometry, cost: (ConvolutionAlgorithm) -> Double
    ) -> ConvolutionAlgorithm {
        guard geometry.suitsWinograd else { return .columns }
        if let forced { return forced }
        guard usesWinograd else { return .columns }
        let candidates: [ConvolutionAlgorithm] = [.columns, .winograd(2), .winograd(4)]
        return candidates.min { cost($0) < cost($1) } ?? .columns
    }
}

/// Estimated cycles of one core, from the numbers of vector operations and of bytes that exceed the caches. The
/// constants were fitted on Zen 5; only their ratios matter.
private struct ConvolutionCost {
    private let inputs, outputs, pixels, taps: Double
    private let geometry: ConvolutionGeometry
    private let lanes = Double(kernels.vector_width)

    /// Vector multiply-adds per cycle in the products.
    private let productRate = 1.75
    /// Cycles of the input and output transforms of a group of tiles per channel, of the weight transform per vector of
    /// filters, and of prepacking a vector of columns.
    private let inputGroup = [2: 110.0, 4: 330.0], outputGroup = [2: 90.0, 4: 300.0]
    private let weightVector = [2: 150.0, 4: 210.0]
    private let columnVector = 6.0

    /// Transformed weights up to this size (floats) take little time to compute compared with their use.
    private static let smallWeight = 1048576.0

    init(_ geometry: ConvolutionGeometry) {
        self.geometry = geometry
        (inputs, outputs, taps) = (Double(geometry.inputs), Double(geometry.outputs), Double(geometry.taps))
        pixels = Double(geometry.batch * geometry.outputPlane)
    }

    func forward(_ algorithm: ConvolutionAlgorithm, isWeightCached: Bool) -> Double {
        switch algorithm {
        case .columns:
            let columns = (pixels / lanes).rounded(.up)
            return taps * outputs * columns / productRate + taps * columns * columnVector
                + reading(taps * outputs)
        case .winograd(let m):
            let (groups, products) = groupsAndProducts(m)
            let weights = outputs * (inputs / lanes).rounded(.up)
            // Small weights count as cached, so that training and inference select the same algorithm.
            let isWeightCached = isWeightCached || products * inputs * outputs <= Self.smallWeight
            return products * inputs * outputs * groups / productRate
                + inputs * groups * (inputGroup[m] ?? 0) + outputs * groups * (outputGroup[m] ?? 0)
                + (isWeightCached ? 0 : weights * (weightVector[m] ?? 0))
                + reading(products * inputs * outputs) * (isWeightCached ? 1 : 2)
        }
    }

    func weightGradient(_ algorithm: ConvolutionAlgorithm) -> Double {
        switch algorithm {
        case .columns:
            let columns = (taps / lanes).rounded(.up)
            return pixels * outputs * columns / productRate + pixels * columns * columnVector * 1.5
                + reading(taps * outputs)
        case .winograd(let m):
            let (groups, products) = groupsAndProducts(m)
            let inputVectors = (inputs / lanes).rounded(.up)
            let isTiled = WinogradConvolution.tilesGradient(
                products: Int(products), tiles: geometry.tiles(m), inputs: geometry.inputs,
                outputs: geometry.outputs)
            return products * groups * lanes * outputs * inputVectors / productRate
                + inputs * groups * ((inputGroup[m] ?? 0) + products * 6)
                + outputs * groups * (outputGroup[m] ?? 0) + outputs * inputVectors * (weightVector[m] ?? 0)
                + (isTiled ? 0 : reading(products * inputs * outputs) * 2)
        }
    }

    /// Cycles to read a weight once: from memory if it is too large to stay in the last-level cache.
    private func reading(_ floats: Double) -> Double {
        let bytes = floats * 4
        return bytes > 16e6 ? bytes * 0.25 : bytes * 0.03
    }

    /// The number of groups of tiles (whole panels if there is more than one), and the number of products per tile.
    private func groupsAndProducts(_ m: Int) -> (Double, Double) {
        let groups = (Double(geometry.tiles(m)) / lanes).rounded(.up)
        return (groups > 1 ? (groups / 2).rounded(.up) * 2 : 1, Double((m + 2) * (m + 2)))
    }
}
