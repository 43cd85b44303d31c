// SPDX-License-Identifier: Apache-2.0
// Which algorithm computes a convolution: a model of its cost, in cycles of one core, from the shape alone. What the
// model chooses can be held against the clock with `bitsfusion-bench kernels`.

import CKernels
import Foundation
import Synchronization

/// How a convolution is computed.
public enum ConvolutionAlgorithm: Hashable, Sendable, CustomStringConvertible {
    /// One product with the patches of the image as columns; right for every shape.
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

    /// Whether Winograd's algorithms may be chosen; `BITSFUSION_WINOGRAD=0` turns them off.
    public static var usesWinograd: Bool {
        get { winogradIsOn.load(ordering: .relaxed) }
        set { winogradIsOn.store(newValue, ordering: .relaxed) }
    }

    /// The algorithm to take wherever it is possible, for measurements and tests; nil: the model's choice.
    @TaskLocal public static var forced: ConvolutionAlgorithm?

    static func forForward(_ geometry: ConvolutionGeometry, isWeightKept: Bool) -> ConvolutionAlgorithm {
        choose(geometry) { ConvolutionCost(geometry).forward($0, isWeightKept: isWeightKept) }
    }

    static func forWeightGradient(_ geometry: ConvolutionGeometry) -> ConvolutionAlgorithm {
        choose(geometry) { ConvolutionCost(geometry).weightGradient($0) }
    }

    /// What the model chooses for `x` ∗ `weight`, shapes as in `conv2d`; `isWeightKept`: frozen, so that its transform
    /// is paid for once.
    public static func chosen(
        x: [Int], weight: [Int], stride: Int = 1, padding: Padding, isWeightKept: Bool
    ) -> ConvolutionAlgorithm {
        forForward(
            ConvolutionGeometry(x, weight, stride: stride, padding: padding), isWeightKept: isWeightKept)
    }

    private static func choose(
        _ geometry: ConvolutionGeometry, cost: (ConvolutionAlgorithm) -> Double
    ) -> ConvolutionAlgorithm {
        guard geometry.suitsWinograd else { return .columns }
        if let forced { return forced }
        guard usesWinograd else { return .columns }
        let candidates: [ConvolutionAlgorithm] = [.columns, .winograd(2), .winograd(4)]
        return candidates.min { cost($0) < cost($1) } ?? .columns
    }
}

extension ConvolutionGeometry {
    /// 3x3 with stride 1, and no pixels cut off in place of padding.
    var suitsWinograd: Bool {
        shape.kernel_height == 3 && shape.kernel_width == 3 && shape.stride == 1 && shape.pad_top >= 0
            && shape.pad_left >= 0
    }

    /// Tiles of m x m outputs of all images.
    func tiles(_ m: Int) -> Int {
        batch * ((Int(shape.out_height) + m - 1) / m) * ((Int(shape.out_width) + m - 1) / m)
    }
}

/// Cycles of one core that an algorithm takes, from counts of vector operations and of bytes that leave the caches. The
/// constants were fitted on Zen 5 and only their ratios matter.
private struct ConvolutionCost {
    private let inputs, outputs, pixels, taps: Double
    private let geometry: ConvolutionGeometry
    private let lanes = Double(kernels.vector_width)

    /// Multiply-add vectors a cycle in the products.
    private let productRate = 1.75
    /// Cycles of a group's input and output transforms per channel, of the weight's per vector of filters, and of
    /// packing a vector of columns.
    private let inputGroup = [2: 110.0, 4: 330.0], outputGroup = [2: 90.0, 4: 300.0]
    private let weightVector = [2: 150.0, 4: 210.0]
    private let packedVector = 6.0

    /// Transformed weights (floats) whose making counts little beside their use.
    private static let smallWeight = 1048576.0

    init(_ geometry: ConvolutionGeometry) {
        self.geometry = geometry
        (inputs, outputs, taps) = (Double(geometry.inputs), Double(geometry.outputs), Double(geometry.taps))
        pixels = Double(geometry.batch * geometry.outputPlane)
    }

    func forward(_ algorithm: ConvolutionAlgorithm, isWeightKept: Bool) -> Double {
        switch algorithm {
        case .columns:
            let columns = (pixels / lanes).rounded(.up)
            return taps * outputs * columns / productRate + taps * columns * packedVector
                + reading(taps * outputs)
        case .winograd(let m):
            let (groups, products) = groupsAndProducts(m)
            let weights = outputs * (inputs / lanes).rounded(.up)
            // Small weights are judged as if kept, so that training and inference compute the same bits.
            let isWeightKept = isWeightKept || products * inputs * outputs <= Self.smallWeight
            return products * inputs * outputs * groups / productRate
                + inputs * groups * (inputGroup[m] ?? 0) + outputs * groups * (outputGroup[m] ?? 0)
                + (isWeightKept ? 0 : weights * (weightVector[m] ?? 0))
                + reading(products * inputs * outputs) * (isWeightKept ? 1 : 2)
        }
    }

    func weightGradient(_ algorithm: ConvolutionAlgorithm) -> Double {
        switch algorithm {
        case .columns:
            let columns = (taps / lanes).rounded(.up)
            return pixels * outputs * columns / productRate + pixels * columns * packedVector * 1.5
                + reading(taps * outputs)
        case .winograd(let m):
            let (groups, products) = groupsAndProducts(m)
            let width = (inputs / lanes).rounded(.up)
            let isShared = WinogradConvolution.sharesOutKernel(
                products: Int(products), tiles: geometry.tiles(m), inputs: geometry.inputs,
                outputs: geometry.outputs)
            return products * groups * lanes * outputs * width / productRate
                + inputs * groups * ((inputGroup[m] ?? 0) + products * 6)
                + outputs * groups * (outputGroup[m] ?? 0) + outputs * width * (weightVector[m] ?? 0)
                + (isShared ? 0 : reading(products * inputs * outputs) * 2)
        }
    }

    /// Reading a weight once: from memory where it is larger than what the last cache keeps from use to use.
    private func reading(_ floats: Double) -> Double {
        let bytes = floats * 4
        return bytes > 16e6 ? bytes * 0.25 : bytes * 0.03
    }

    /// Groups of tiles, whole panels of them where there is more than one, and products a tile.
    private func groupsAndProducts(_ m: Int) -> (Double, Double) {
        let groups = (Double(geometry.tiles(m)) / lanes).rounded(.up)
        return (groups > 1 ? (groups / 2).rounded(.up) * 2 : 1, Double((m + 2) * (m + 2)))
    }
}
