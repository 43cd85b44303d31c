// SPDX-License-Identifier: Apache-2.0
// The balanced integer grid of the paper: {-2^(b-1), ..., 2^(b-1)} times a scale, with zero point 0
// (BitsFusion, arXiv:2406.04333, section 4.1).

import Recipes

/// The symmetric grid of b nominal bits.
public struct BalancedGrid: Hashable, Sendable {
    /// The nominal bits b.
    public let bits: BitWidth

    /// The number of grid points, odd: 2^b + 1, or 255 on the 8-bit grid for integer kernels.
    public let levels: Int

    /// The paper's grid of 2^b + 1 levels.
    public init(_ bits: BitWidth) { (self.bits, levels) = (bits, bits.levels) }

    /// A grid whose codes fit into a byte, so that integer kernels multiply them: 255 levels for 8 bits, and the
    /// paper's for fewer bits.
    public init(fittingInByte bits: BitWidth) { (self.bits, levels) = (bits, bits.levelsInByte) }

    /// The grid of `bits` with `levels` levels; nil if there is no such grid.
    public init?(_ bits: BitWidth, levels: Int) {
        guard levels == bits.levels || levels == bits.levelsInByte else { return nil }
        (self.bits, self.levels) = (bits, levels)
    }

    /// The largest code, (levels - 1) / 2; codes are `-maximumCode ... maximumCode`.
    public var maximumCode: Int { (levels - 1) / 2 }
}
