// SPDX-License-Identifier: Apache-2.0
// Several digits of a group at once: the number modulo base^d looks up the d codes of its lowest digits, ready to be
// stored as one word.

/// A table from the value of d digits to their codes.
///
///     word of d = 5 one-byte codes:   byte  7      6  5    4   3   2   1   0
///                                           fault  0  0    c4  c3  c2  c1  c0
struct DigitChunks<Pattern: FixedWidthInteger & UnsignedInteger> {
    /// The bit that words of digits that are no codes (a fixed field's value L or more) have set.
    static var fault: UInt64 { 1 << 63 }

    /// d: as many digits as a table of 2048 words allows, and a word, whose top byte stays free for `fault`.
    let digits: Int
    /// The words, by the value of the digits.
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

    /// `value` divided by base^d. The estimate is the quotient or one less: value / divisor exceeds
    /// value * reciprocal / 2^64 by less than value / 2^64 < 1.
    @inline(__always)
    func split(_ value: UInt64) -> (quotient: UInt64, remainder: UInt64) {
        let estimate = value.multipliedFullWidth(by: reciprocal).high
        let rest = value &- estimate &* divisor
        return rest >= divisor ? (estimate &+ 1, rest &- divisor) : (estimate, rest)
    }
}
