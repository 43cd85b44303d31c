// SPDX-License-Identifier: Apache-2.0
// Blocks of digits, and tables that convert several digits at once, for the fast paths of packing and unpacking. A
// radix block is a group. Fixed fields are treated as digits in base 2^bits, as many as fit into 64 bits, so that both
// encodings use the same loops.

/// A block: `codes` digits in base `base`, lowest digit first, in `bits` bits.
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

    /// Number of bits of a last block of `codes` codes.
    func bits(ofBlockWith codes: Int) -> Int {
        layout.encoding == .fixed ? codes * layout.bitsPerGroup : layout.bits(ofGroupWith: codes)
    }
}

/// A table from the value of the lowest d digits of a number (the number modulo base^d) to their codes, in a word that
/// can be stored at once.
///
///     word of d = 5 one-byte codes:   byte  7      6  5    4   3   2   1   0
///                                           fault  0  0    c4  c3  c2  c1  c0
struct DigitChunks<Pattern: FixedWidthInteger & UnsignedInteger> {
    /// The bit that is set in words with an invalid digit (a fixed field with a value of L or more).
    static var fault: UInt64 { 1 << 63 }

    /// d: limited by a table size of 2048 words, and by a word, whose top byte is reserved for `fault`.
    let digits: Int
    /// The words, indexed by the value of the digits.
    let table: [UInt64]
    private let divisor: UInt64
    /// floor(2^64 / divisor).
    private let reciprocal: UInt64

    init(_ groups: BitGroups, offset: Pattern) {
        let room = min(groups.codes, 56 / Pattern.bitWidth)
        var digits = 1
        var divisor = groups.base
        while digits < room, divisor * groups.base <= 2048 {
            digits += 1
            divisor *= groups.base
        }
        let single = (0..<groups.base).map { stored in
            let code = UInt64(Pattern(truncatingIfNeeded: stored) &- offset)
            return stored < UInt64(groups.levels) ? code : Self.fault
        }
        var table = single
        for digit in 1..<max(digits, 1) {
            table = single.flatMap { high in
                let shifted = high == Self.fault ? high : high << UInt64(digit * Pattern.bitWidth)
                return table.map { $0 | shifted }
            }
        }
        self.digits = digits
        self.table = table
        self.divisor = divisor
        reciprocal = UInt64.max / divisor + (UInt64.max % divisor == divisor - 1 ? 1 : 0)
    }

    /// `value` divided by base^d. The estimate is the quotient or the quotient - 1, because value / divisor exceeds
    /// value * reciprocal / 2^64 by less than value / 2^64 < 1.
    @inline(__always)
    func split(_ value: UInt64) -> (quotient: UInt64, remainder: UInt64) {
        let estimate = value.multipliedFullWidth(by: reciprocal).high
        let rest = value &- estimate &* divisor
        return rest >= divisor ? (estimate &+ 1, rest &- divisor) : (estimate, rest)
    }
}
