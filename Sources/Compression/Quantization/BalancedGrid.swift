// SPDX-License-Identifier: Apache-2.0
// The balanced integer grid of the paper: {-2^(b-1), ..., 2^(b-1)} times a scale, with zero point 0
// (BitsFusion, arXiv:2406.04333, section 4.1).

import Recipes

/// The symmetric grid of b nominal bits.
public struct BalancedGrid: Hashable, Sendable {
    /// The nominal bits b.
    public let bits: BitWidth

    public init(_ bits: BitWidth) { self.bits = bits }

    /// The number of grid points, 2^b + 1.
    public var levels: Int { bits.levels }

    /// The largest code, 2^(b-1); codes are `-maximumCode ... maximumCode`.
    public var maximumCode: Int { (levels - 1) / 2 }
}
