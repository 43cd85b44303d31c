// SPDX-License-Identifier: Apache-2.0
// Unpacking of bytes to codes, with all checks that can detect corrupted bytes; see `PackingLayout` for the layout.

/// Unpacks `codes.count` codes from `bytes` into `codes`.
///
/// - Parameters:
///   - bytes: the result of `packCodes`: for encodings of fixed size, exactly
///     `packedByteCount(count: codes.count, levels: levels, encoding: encoding)` bytes. Any other
///     bytes are safe and give an error or wrong codes.
///   - levels: L, in `PackingLayout.supportedLevels`.
///   - encoding: the encoding of the codes.
///   - codes: the target: stored codes (unsigned types) or grid codes (signed types), see `PackableCode`. The contents
///     are unspecified after an error.
/// - Throws: `PackingError.unsupportedLevels`; `.wrongByteCount`; for corrupted bytes `.codeOutOfRange`,
///   `.groupOutOfRange` or `.nonZeroPadding`, and for `entropy` the cases for entropy-coded streams.
/// - Precondition: `Code` can represent L levels; the buffers do not overlap.
/// - Complexity: O(n) in one pass; builds a table of at most 2048 words first (2^14 words for `entropy`).
public func unpackCodes<Code: PackableCode>(
    _ bytes: UnsafeRawBufferPointer, levels: Int, encoding: PackingEncoding,
    into codes: UnsafeMutableBufferPointer<Code>
) throws(PackingError) {
    let layout = try PackingLayout(levels: levels, encoding: encoding.hasFixedSize ? encoding : .radix)
    Code.preconditionFits(levels: levels, "unpackCodes")
    // In wrapping arithmetic, a stored code minus the offset has the bits of the signed code: two loops suffice for all
    // types.
    let raw = UnsafeMutableRawBufferPointer(codes)
    let groups = BitGroups(layout)
    let offset = Code.offset(levels: levels)
    if MemoryLayout<Code>.size == 1 {
        try unpack(bytes, groups, offset: UInt8(offset), encoding, into: raw.bindMemory(to: UInt8.self))
    } else {
        try unpack(bytes, groups, offset: UInt16(offset), encoding, into: raw.bindMemory(to: UInt16.self))
    }
}

/// Unpacks `count` codes from `bytes`; see the function on buffers.
///
/// - Returns: `count` codes.
/// - Throws: as the function on buffers.
public func unpackCodes<Code: PackableCode>(
    _ bytes: [UInt8], count: Int, levels: Int, encoding: PackingEncoding, as type: Code.Type = Code.self
) throws(PackingError) -> [Code] {
    var fault: PackingError?
    // Not initialized: after an error the array is empty, so that unwritten codes are never visible.
    let codes = [Code](unsafeUninitializedCapacity: count) { target, initialized in
        do throws(PackingError) {
            try bytes.withUnsafeBufferPointer { source throws(PackingError) in
                try unpackCodes(
                    UnsafeRawBufferPointer(source), levels: levels, encoding: encoding,
                    into: UnsafeMutableBufferPointer(rebasing: target[..<count]))
            }
            initialized = count
        } catch {
            fault = error
        }
    }
    if let fault { throw fault }
    return codes
}

private func unpack<Pattern: FixedWidthInteger & UnsignedInteger & SIMDScalar>(
    _ bytes: UnsafeRawBufferPointer, _ groups: BitGroups, offset: Pattern, _ encoding: PackingEncoding,
    into codes: UnsafeMutableBufferPointer<Pattern>
) throws(PackingError) {
    // An entropy-coded stream may consist of a header byte and radix groups; the stream of 0 codes is empty.
    let isEntropyCoded = encoding == .entropy && !codes.isEmpty
    if isEntropyCoded, bytes.first != EntropyStream.radixHeader {
        return try unpackEntropy(bytes, levels: groups.levels, offset: offset, into: codes)
    }
    let header = isEntropyCoded ? 1 : 0
    let expected = header + groups.layout.byteCount(codes.count)
    guard bytes.count == expected else {
        throw .wrongByteCount(
            count: codes.count, levels: groups.levels, encoding: encoding, expected: expected,
            found: bytes.count)
    }
    try unpackGroups(.init(rebasing: bytes[header...]), groups, offset: offset, into: codes)
}

private func unpackGroups<Pattern: FixedWidthInteger & UnsignedInteger>(
    _ bytes: UnsafeRawBufferPointer, _ groups: BitGroups, offset: Pattern,
    into codes: UnsafeMutableBufferPointer<Pattern>
) throws(PackingError) {
    let reader = BitReader(bytes)
    // The fast path processes blocks while whole words can be read and written; the last blocks go digit by digit.
    let quick = unpackQuickly(reader, groups, offset: offset, into: codes)
    var bit = quick * groups.bits
    for start in stride(from: quick * groups.codes, to: codes.count, by: groups.codes) {
        let count = min(groups.codes, codes.count - start)
        let bits = count == groups.codes ? groups.bits : groups.bits(ofBlockWith: count)
        let value = reader.careful(at: bit, bits: bits)
        try unpackCarefully(value, groups, offset: offset, into: codes, start..<(start + count))
        bit += bits
    }
    if let last = bytes.last, bit & 7 != 0, last >> UInt8(bit & 7) != 0 {
        throw .nonZeroPadding(lastByte: last, usedBits: bit & 7)
    }
}

/// Writes the codes of one block one by one, with checks.
private func unpackCarefully<Pattern: FixedWidthInteger & UnsignedInteger>(
    _ value: UInt64, _ groups: BitGroups, offset: Pattern, into codes: UnsafeMutableBufferPointer<Pattern>,
    _ range: Range<Int>
) throws(PackingError) {
    let maximum = largestNumber(base: groups.base, digits: range.count)
    guard value <= maximum else {
        throw .groupOutOfRange(
            firstIndex: range.lowerBound, found: value, maximum: maximum, levels: groups.levels)
    }
    var rest = value
    for index in range {
        let (quotient, stored) = rest.quotientAndRemainder(dividingBy: groups.base)
        guard stored < UInt64(groups.levels) else {
            throw .codeOutOfRange(index: index, stored: Int(stored), levels: groups.levels)
        }
        codes[index] = Pattern(truncatingIfNeeded: stored) &- offset
        rest = quotient
    }
}

/// Writes the codes of all blocks for which whole words can be read and written.
///
/// - Returns: the number of processed blocks; 0 if one of them is invalid, so that the careful path reports the error.
private func unpackQuickly<Pattern: FixedWidthInteger & UnsignedInteger>(
    _ reader: BitReader, _ groups: BitGroups, offset: Pattern, into codes: UnsafeMutableBufferPointer<Pattern>
) -> Int {
    let readable = reader.bytes.count < 9 ? 0 : ((reader.bytes.count - 9) * 8 + 7) / groups.bits + 1
    let writable = (codes.count - 8) / groups.codes
    let blocks = min(readable, writable)
    // Building the table takes as long as a few dozen blocks.
    guard blocks >= 64 else { return 0 }
    let chunks = DigitChunks(groups, offset: offset)
    let chunksPerBlock = (groups.codes + chunks.digits - 1) / chunks.digits
    let target = UnsafeMutableRawBufferPointer(codes)
    var faults: UInt64 = 0
    chunks.table.withUnsafeBufferPointer { table in
        for block in 0..<blocks {
            var rest = reader.quick(at: block * groups.bits, bits: groups.bits)
            if rest > groups.maximum {
                faults = DigitChunks<Pattern>.fault
                break
            }
            var byte = block * groups.codes * MemoryLayout<Pattern>.size
            for _ in 1..<chunksPerBlock {
                let (quotient, index) = chunks.split(rest)
                let word = table[Int(index)]
                faults |= word
                target.storeBytes(of: word.littleEndian, toByteOffset: byte, as: UInt64.self)
                byte += chunks.digits * MemoryLayout<Pattern>.size
                rest = quotient
            }
            let word = table[Int(rest)]
            faults |= word
            target.storeBytes(of: word.littleEndian, toByteOffset: byte, as: UInt64.self)
        }
    }
    return faults & DigitChunks<Pattern>.fault == 0 ? blocks : 0
}

/// Reads numbers from a bit stream, lowest bit first.
private struct BitReader {
    let bytes: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// The `bits` bits from bit `position` on, 1...64 of them.
    ///
    /// - Precondition: there are nine bytes from byte `position / 8` on.
    @inline(__always)
    func quick(at position: Int, bits: Int) -> UInt64 {
        let shift = UInt64(position & 7)
        let low = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position >> 3, as: UInt64.self))
        let high = UInt64(bytes[(position >> 3) + 8])
        // Two shifts, because a masked shift by 64 does not change the value.
        let value = (low &>> shift) | ((high &<< 1) &<< (63 - shift))
        return value & (UInt64.max &>> UInt64(64 - bits))
    }

    /// As `quick`, at any position; bits after the last byte are zero.
    func careful(at position: Int, bits: Int) -> UInt64 {
        var value: UInt64 = 0
        for bit in 0..<bits where (position + bit) >> 3 < bytes.count {
            let isSet = bytes[(position + bit) >> 3] >> UInt8((position + bit) & 7) & 1
            value |= UInt64(isSet) << UInt64(bit)
        }
        return value
    }
}
