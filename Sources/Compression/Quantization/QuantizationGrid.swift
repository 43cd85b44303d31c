// SPDX-License-Identifier: Apache-2.0
// Integer grids times a scale, with zero point 0: the paper's balanced grid {-2^(b-1), ..., 2^(b-1)} (BitsFusion,
// arXiv:2406.04333, section 4.1), and LSQ's {-2^(b-1), ..., 2^(b-1) - 1} that it is compared with.

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

    /// The paper's grid of 2^b + 1 levels.
    public init(_ bits: BitWidth) { (self.bits, levels) = (bits, bits.levels) }

    /// A grid whose codes fit into a byte, so that integer kernels multiply them: 255 levels for 8 bits, and the
    /// paper's for fewer bits.
    public init(fittingInByte bits: BitWidth) { (self.bits, levels) = (bits, bits.levelsInByte) }

    /// LSQ's grid of 2^b levels (Esser et al. 2020, arXiv:1902.08153, section 2), with one more negative than positive
    /// code: the baseline of the paper's ablation.
    public init(lsq bits: BitWidth) { (self.bits, levels) = (bits, 1 << bits.rawValue) }

    /// The grid of `bits` with `levels` levels; nil if there is no such grid.
    public init?(_ bits: BitWidth, levels: Int) {
        guard [bits.levels, bits.levelsInByte, 1 << bits.rawValue].contains(levels) else { return nil }
        (self.bits, self.levels) = (bits, levels)
    }

    /// Whether codes are symmetric around 0; false for LSQ's grid.
    public var isBalanced: Bool { levels % 2 == 1 }

    /// The smallest code, -⌊levels / 2⌋.
    public var minimumCode: Int { -(levels / 2) }

    /// The largest code, ⌊(levels - 1) / 2⌋.
    public var maximumCode: Int { (levels - 1) / 2 }

    /// The codes as floats, for kernels.
    var range: (low: Float, high: Float) { (Float(minimumCode), Float(maximumCode)) }
}
