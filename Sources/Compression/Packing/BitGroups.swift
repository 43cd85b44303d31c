// SPDX-License-Identifier: Apache-2.0
// The blocks in which the fast paths work. A radix block is a group. Fixed fields have no groups, but as many of them
// as fit in 64 bits are, bit for bit, a group of digits in base 2^width: so both encodings run through the same loops.

/// A block: `codes` digits in base `base`, the first one lowest, in `bits` bits.
struct BitGroups {
    let levels: Int
    let base: UInt64
    let codes: Int
    let bits: Int
    /// base^codes - 1.
    let maximum: UInt64
    let layout: PackingLayout

    init(_ layout: PackingLayout) {
        self.layout = layout
        levels = layout.levels
        if layout.encoding == .fixed {
            base = 1 << UInt64(layout.bitsPerGroup)
            codes = 64 / layout.bitsPerGroup
            bits = codes * layout.bitsPerGroup
        } else {
            base = UInt64(layout.levels)
            codes = layout.codesPerGroup
            bits = layout.bitsPerGroup
        }
        maximum = largestNumber(base: base, digits: codes)
    }

    /// The bits of a last block of `rest` codes.
    func bits(ofBlockWith rest: Int) -> Int {
        layout.encoding == .fixed ? rest * layout.bitsPerGroup : layout.bits(ofGroupWith: rest)
    }
}
