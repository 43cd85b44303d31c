// SPDX-License-Identifier: Apache-2.0
// Integer grids times a scale, with zero point 0: the paper's balanced grid {-2^(b-1), ..., 2^(b-1)} (BitsFusion,
// arXiv:2406.04333, section 4.1), optionally with a dead zone around 0, and LSQ's {-2^(b-1), ..., 2^(b-1) - 1} that it
// is compared with.

import Recipes

/// How many levels the grids of a model have.
public enum GridKind: String, CaseIterable, Sendable {
    /// The paper's 2^b + 1 levels.
    case balanced
    /// LSQ's 2^b levels. Students with them cannot be packed.
    case lsq
}

/// The grid of b nominal bits.
public struct QuantizationGrid: Hashable, Sendable {
    /// The nominal bits b.
    public let bits: BitWidth

    /// The number of grid points: 2^b + 1, 255 on the 8-bit grid for integer kernels, or LSQ's 2^b.
    public let levels: Int

    /// θ: |w| / s up to which a weight gets the code 0, in 0.5 ..< 1. All thresholds move: the code k begins at
    /// |w| / s = k - 1 + θ. 0.5 rounds to the nearest code. Larger values give more zeros, which entropy coding stores
    /// in fewer bits, as in image and video coding (Sullivan 1996, "Efficient scalar quantization of exponential and
    /// Laplacian random variables").
    public private(set) var deadZone: Float

    /// The paper's grid of 2^b + 1 levels.
    public init(_ bits: BitWidth) { (self.bits, levels, deadZone) = (bits, bits.levels, Self.nearest) }

    /// The dead zone of rounding to the nearest code.
    public static let nearest: Float = 0.5

    /// The valid dead zones.
    public static let deadZones = BitRecipe.deadZoneRange

    /// A grid whose codes fit into a byte, so that integer kernels multiply them: 255 levels for 8 bits, and the
    /// paper's for fewer bits.
    public init(fittingInByte bits: BitWidth) {
        (self.bits, levels, deadZone) = (bits, bits.levelsInByte, Self.nearest)
    }

    /// LSQ's grid of 2^b levels (Esser et al. 2020, arXiv:1902.08153, section 2), with one more negative than positive
    /// code: the baseline of the paper's ablation.
    public init(lsq bits: BitWidth) { (self.bits, levels, deadZone) = (bits, 1 << bits.rawValue, Self.nearest) }

    /// The grid of `bits` with `levels` levels; nil if there is no such grid.
    public init?(_ bits: BitWidth, levels: Int, deadZone: Float = nearest) {
        guard [bits.levels, bits.levelsInByte, 1 << bits.rawValue].contains(levels),
            Self.deadZones.contains(deadZone)
        else { return nil }
        (self.bits, self.levels, self.deadZone) = (bits, levels, deadZone)
    }

    /// The same levels, with rounding to the nearest code.
    public var withoutDeadZone: QuantizationGrid { withDeadZone(Self.nearest) }

    /// The same levels with another dead zone.
    ///
    /// - Precondition: `deadZone` is in `deadZones`.
    public func withDeadZone(_ deadZone: Float) -> QuantizationGrid {
        precondition(Self.deadZones.contains(deadZone), "QuantizationGrid: dead zone \(deadZone)")
        var grid = self
        grid.deadZone = deadZone
        return grid
    }

    /// Whether codes are symmetric around 0; false for LSQ's grid.
    public var isBalanced: Bool { levels % 2 == 1 }

    /// The smallest code, -⌊levels / 2⌋.
    public var minimumCode: Int { -(levels / 2) }

    /// The largest code, ⌊(levels - 1) / 2⌋.
    public var maximumCode: Int { (levels - 1) / 2 }

    /// The codes as floats, for kernels.
    var range: (low: Float, high: Float) { (Float(minimumCode), Float(maximumCode)) }

    /// How far kernels move w / s towards 0 before they round it.
    var shrink: Float { deadZone - Self.nearest }
}

extension BitRecipe {
    /// `grid` with the dead zone of the layer at `path`.
    public func addingDeadZone(to grid: QuantizationGrid, of path: LayerID) -> QuantizationGrid {
        deadZones[path].map(grid.withDeadZone) ?? grid
    }
}
