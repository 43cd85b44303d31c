// SPDX-License-Identifier: Apache-2.0
// The layout of codes in bytes. Codes are combined into groups, a group is one number, and the numbers form a bit
// stream, lowest bit first. BitsFusion (arXiv:2406.04333, appendix) packs groups of symbols for the same reason.

/// The encoding of codes as bits. L levels, codes c in `0..<L`.
///
/// `fixed`: a field of ceil(log2 L) bits per code. L = 3, 2 bits per code:
///
///     byte    | 0                       | 1
///     bit     | 7 6 | 5 4 | 3 2 | 1 0   | 7 6 | 5 4 | 3 2 | 1 0
///     code    | c3  | c2  | c1  | c0    | c7  | c6  | c5  | c4
///
/// `radix`: k codes are the digits of one number in base L, the first code the lowest digit, in w bits. L = 3, k = 5,
/// w = 8: 1.6 bits per code, compared with log2(3) = 1.585:
///
///     byte    | 0                                   | 1
///     value   | c0 + 3 c1 + 9 c2 + 27 c3 + 81 c4    | c5 + 3 c6 + 9 c7 + 27 c8 + 81 c9
///
/// Groups need not end at a byte boundary: for L = 17, w = 45, group 0 is in bits 0...44 of the stream and group 1 in
/// bits 45...89. Bit j of the stream is bit j % 8 of byte j / 8.
///
/// `entropy`: frequent codes take fewer bits than rare codes, on average close to the entropy of the codes, so that the
/// number of bytes depends on the codes; see `EntropyStream`. At most one byte longer than `radix`.
public enum PackingEncoding: String, Codable, Sendable, CaseIterable {
    case fixed
    case radix
    case entropy

    /// Whether the number of bytes depends only on the number of codes and levels; otherwise `packedByteCountBound` is
    /// the maximum.
    public var hasFixedSize: Bool {
        switch self {
        case .fixed, .radix: true
        case .entropy: false
        }
    }
}

/// The groups of one encoding of fixed size and one level count.
///
///     levels           3       5       9       17      33      65      129     257
///     fixed   k / w    1/2     1/3     1/4     1/5     1/6     1/7     1/8     1/9
///     radix   k / w    5/8     24/56   5/16    11/45   11/56   10/61   9/64    7/57
///     bits per code    1.600   2.333   3.200   4.091   5.091   6.100   7.111   8.143
///     log2(levels)     1.585   2.322   3.170   4.087   5.044   6.022   7.011   8.006
///
/// The last group may have fewer codes, r < k; it takes ceil(log2(L^r)) bits. The last byte is padded with zero bits.
public struct PackingLayout: Hashable, Sendable {
    /// The supported numbers of levels.
    public static let supportedLevels = 2...257

    public let levels: Int
    public let encoding: PackingEncoding
    /// k: the number of codes of a group.
    public let codesPerGroup: Int
    /// w: the number of bits of a group, at most 64.
    public let bitsPerGroup: Int

    /// Computes the sizes of groups.
    ///
    /// - Throws: `PackingError.unsupportedLevels` for levels outside `supportedLevels`; `PackingError.noFixedSize` for
    ///   an encoding without groups.
    public init(levels: Int, encoding: PackingEncoding) throws(PackingError) {
        guard Self.supportedLevels.contains(levels) else { throw .unsupportedLevels(found: levels) }
        self.levels = levels
        self.encoding = encoding
        switch encoding {
        case .fixed:
            codesPerGroup = 1
            bitsPerGroup = bitsNeeded(base: UInt64(levels), digits: 1)
        case .radix:
            (codesPerGroup, bitsPerGroup) = Self.radixGroup(base: UInt64(levels))
        case .entropy:
            throw .noFixedSize(encoding: encoding)
        }
    }

    /// Number of bits of a group of `codes` codes, at most `codesPerGroup`.
    func bits(ofGroupWith codes: Int) -> Int {
        codes == codesPerGroup ? bitsPerGroup : bitsNeeded(base: UInt64(levels), digits: codes)
    }

    /// Number of bytes of `count` codes.
    public func byteCount(_ count: Int) -> Int {
        let (groups, rest) = count.quotientAndRemainder(dividingBy: codesPerGroup)
        let bits = groups * bitsPerGroup + (rest == 0 ? 0 : self.bits(ofGroupWith: rest))
        return (bits + 7) / 8
    }

    /// The densest group that ends at a byte boundary if it is within 1 % of the densest group of all, because other
    /// programs read whole bytes most easily; otherwise the densest group of all. The shortest of equally dense groups.
    /// Integer arithmetic, because the file format depends on the result.
    private static func radixGroup(base: UInt64) -> (codes: Int, bits: Int) {
        var densest = (codes: 1, bits: UInt64.bitWidth)
        var densestAligned = densest
        var codes = 1
        while fitsIn64Bits(base: base, digits: codes) {
            let bits = bitsNeeded(base: base, digits: codes)
            if bits * densest.codes < densest.bits * codes { densest = (codes, bits) }
            if bits % 8 == 0, bits * densestAligned.codes < densestAligned.bits * codes {
                densestAligned = (codes, bits)
            }
            codes += 1
        }
        let isClose = 100 * densestAligned.bits * densest.codes <= 101 * densest.bits * densestAligned.codes
        return isClose ? densestAligned : densest
    }
}

/// Number of bytes of `count` codes of `levels` levels.
///
/// - Precondition: `count >= 0`; `levels` in `PackingLayout.supportedLevels`; `encoding.hasFixedSize`.
public func packedByteCount(count: Int, levels: Int, encoding: PackingEncoding) -> Int {
    precondition(count >= 0, "packedByteCount: count \(count) is negative")
    guard let layout = try? PackingLayout(levels: levels, encoding: encoding) else {
        preconditionFailure(
            "packedByteCount: expected levels in \(PackingLayout.supportedLevels) and an encoding of fixed size, "
                + "found \(levels), \(encoding)")
    }
    return layout.byteCount(count)
}

/// Maximum number of bytes of `count` codes of `levels` levels; the exact number for encodings of fixed size.
///
/// - Precondition: `count >= 0`; `levels` in `PackingLayout.supportedLevels`.
public func packedByteCountBound(count: Int, levels: Int, encoding: PackingEncoding) -> Int {
    switch encoding {
    case .fixed, .radix:
        packedByteCount(count: count, levels: levels, encoding: encoding)
    case .entropy:
        // A header byte, and the codes in radix groups.
        count == 0 ? 0 : 1 + packedByteCount(count: count, levels: levels, encoding: .radix)
    }
}

/// base^digits - 1, the largest number with `digits` digits.
///
/// - Precondition: base^digits <= 2^64.
func largestNumber(base: UInt64, digits: Int) -> UInt64 {
    (0..<digits).reduce(0) { value, _ in value * base + (base - 1) }
}

/// ceil(log2(base^digits)), exactly.
///
/// - Precondition: base^digits <= 2^64.
func bitsNeeded(base: UInt64, digits: Int) -> Int {
    UInt64.bitWidth - largestNumber(base: base, digits: digits).leadingZeroBitCount
}

private func fitsIn64Bits(base: UInt64, digits: Int) -> Bool {
    var value: UInt64 = 0
    for _ in 0..<digits {
        let (product, overflow) = value.multipliedReportingOverflow(by: base)
        let (sum, carry) = product.addingReportingOverflow(base - 1)
        guard !overflow, !carry else { return false }
        value = sum
    }
    return true
}
