// SPDX-License-Identifier: Apache-2.0
// How codes lie in bytes. Codes are joined into groups, a group is one number, and the numbers follow each other in a
// stream of bits, lowest bit first. BitsFusion (arXiv 2406.04333, appendix) packs groups of symbols for the same reason.

/// How codes become bits. L levels, codes c in `0..<L`.
///
/// `fixed`: each code in a field of its own of ceil(log2 L) bits. L = 3, 2 bits a code:
///
///     byte    | 0                       | 1
///     bit     | 7 6 | 5 4 | 3 2 | 1 0   | 7 6 | 5 4 | 3 2 | 1 0
///     code    | c3  | c2  | c1  | c0    | c7  | c6  | c5  | c4
///
/// `radix`: k codes are the digits of one number in base L, the first code the lowest digit, in w bits. L = 3, k = 5,
/// w = 8, so 1.6 bits a code where log2(3) = 1.585:
///
///     byte    | 0                                   | 1
///     value   | c0 + 3 c1 + 9 c2 + 27 c3 + 81 c4    | c5 + 3 c6 + 9 c7 + 27 c8 + 81 c9
///
/// Groups need not end with a byte: L = 17 has w = 45, so group 0 takes bits 0...44 of the stream and group 1 bits
/// 45...89, where bit j of the stream is bit j % 8 of byte j / 8.
///
/// `entropy`: frequent codes take fewer bits than rare ones, close to the entropy of the codes on average, so the bytes
/// are as many as the codes make them, see `EntropyStream`. Never more than one byte longer than `radix`.
public enum PackingEncoding: String, Codable, Sendable, CaseIterable {
    case fixed
    case radix
    case entropy

    /// Whether the number of codes and levels alone say how many bytes they take; where they do not,
    /// `packedByteCountBound` gives the largest number of bytes.
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
/// The last group may hold fewer codes, r < k; it takes ceil(log2(L^r)) bits. Zero bits fill the last byte.
public struct PackingLayout: Hashable, Sendable {
    /// The level counts that can be packed.
    public static let supportedLevels = 2...257

    public let levels: Int
    public let encoding: PackingEncoding
    /// k: the codes of one group.
    public let codesPerGroup: Int
    /// w: the bits of one group, at most 64.
    public let bitsPerGroup: Int

    /// Works out the groups.
    ///
    /// - Throws: `PackingError.unsupportedLevels` outside of `supportedLevels`; `PackingError.noFixedSize` for an
    ///   encoding that has no groups.
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

    /// The bits of a group of `codes` codes, at most `codesPerGroup`.
    func bits(ofGroupWith codes: Int) -> Int {
        codes == codesPerGroup ? bitsPerGroup : bitsNeeded(base: UInt64(levels), digits: codes)
    }

    /// The bytes of `count` codes.
    public func byteCount(_ count: Int) -> Int {
        let (groups, rest) = count.quotientAndRemainder(dividingBy: codesPerGroup)
        let bits = groups * bitsPerGroup + (rest == 0 ? 0 : self.bits(ofGroupWith: rest))
        return (bits + 7) / 8
    }

    /// The smallest number of codes after which the stream stands at the start of a byte. A stream may be cut at its
    /// multiples into parts that pack and unpack on their own, on several threads for example.
    public var codesPerAlignedBlock: Int {
        codesPerGroup * (8 >> min(bitsPerGroup.trailingZeroBitCount, 3))
    }

    /// The densest group that ends with a byte if it is within 1 % of the densest of all, failing that the densest of
    /// all: whole bytes are what other programs read most easily. Of equally dense groups the shortest. Integer
    /// arithmetic, as files depend on the outcome.
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

/// The bytes that `count` codes of `levels` values take.
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

/// The most bytes that `count` codes of `levels` values can take, whatever the codes: for encodings of fixed size the
/// bytes that they do take.
///
/// - Precondition: `count >= 0`; `levels` in `PackingLayout.supportedLevels`.
public func packedByteCountBound(count: Int, levels: Int, encoding: PackingEncoding) -> Int {
    switch encoding {
    case .fixed, .radix:
        packedByteCount(count: count, levels: levels, encoding: encoding)
    case .entropy:
        // One byte that says so, and the codes in radix groups.
        count == 0 ? 0 : 1 + packedByteCount(count: count, levels: levels, encoding: .radix)
    }
}

/// base^digits - 1, the largest number of that many digits.
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
