// SPDX-License-Identifier: Apache-2.0
// Packing of codes into bytes; see `PackingLayout` for the layout.

/// Packs `codes` into bytes.
///
/// - Parameters:
///   - codes: stored codes (unsigned types) or grid codes (signed types), see `PackableCode`; may be empty.
///   - levels: L, in `PackingLayout.supportedLevels`.
///   - encoding: the encoding of the codes.
/// - Returns: `packedByteCount(count: codes.count, levels: levels, encoding: encoding)` bytes; for an encoding without
///   fixed size at most `packedByteCountBound(...)`. Equal codes give equal bytes.
/// - Throws: `PackingError.unsupportedLevels`; `PackingError.codeOutOfRange` for the first code that is not one of the
///   L levels.
/// - Precondition: `Code` can represent L levels.
/// - Complexity: O(n) in one pass; `entropy` needs three passes and up to 4n bytes of memory.
public func packCodes<Code: PackableCode>(
    _ codes: UnsafeBufferPointer<Code>, levels: Int, encoding: PackingEncoding
) throws(PackingError) -> [UInt8] {
    // Codes that entropy coding does not make smaller are stored in radix groups.
    let layout = try PackingLayout(levels: levels, encoding: encoding.hasFixedSize ? encoding : .radix)
    Code.preconditionFits(levels: levels, "packCodes")
    let groups = BitGroups(layout)
    let offset = Code.offset(levels: levels)
    // In wrapping arithmetic, a signed code plus its offset has the bits of the stored code: two loops suffice for all
    // types.
    let raw = UnsafeRawBufferPointer(codes)
    let packed =
        MemoryLayout<Code>.size == 1
        ? pack(raw.bindMemory(to: UInt8.self), groups, offset: UInt8(offset), encoding)
        : pack(raw.bindMemory(to: UInt16.self), groups, offset: UInt16(offset), encoding)
    guard packed.largestCode < levels else {
        throw firstFault(in: codes, offset: offset, levels: levels)
    }
    return packed.bytes
}

/// Packs `codes` into bytes; see the function on buffers.
///
/// - Throws: as the function on buffers.
public func packCodes<Code: PackableCode>(
    _ codes: [Code], levels: Int, encoding: PackingEncoding
) throws(PackingError) -> [UInt8] {
    try codes.withUnsafeBufferPointer { buffer throws(PackingError) in
        try packCodes(buffer, levels: levels, encoding: encoding)
    }
}

private func firstFault<Code: PackableCode>(
    in codes: UnsafeBufferPointer<Code>, offset: Int, levels: Int
) -> PackingError {
    let index = codes.firstIndex { !(0..<levels).contains(Int($0) + offset) } ?? 0
    return .codeOutOfRange(index: index, stored: Int(codes[index]) + offset, levels: levels)
}

/// Packs without checks. The caller must check the largest stored code, which is large for negative codes, before it
/// uses the bytes.
private func pack<Pattern: FixedWidthInteger & UnsignedInteger>(
    _ codes: UnsafeBufferPointer<Pattern>, _ groups: BitGroups, offset: Pattern, _ encoding: PackingEncoding
) -> (bytes: [UInt8], largestCode: Int) {
    guard encoding == .entropy else { return packGroups(codes, groups, offset: offset) }
    let largest = Int(codes.reduce(0) { max($0, $1 &+ offset) })
    guard largest < groups.levels else { return ([], largest) }
    let bytes = packEntropy(codes, levels: groups.levels, offset: offset) {
        packGroups(codes, groups, offset: offset).bytes
    }
    return (bytes, largest)
}

private func packGroups<Pattern: FixedWidthInteger & UnsignedInteger>(
    _ codes: UnsafeBufferPointer<Pattern>, _ groups: BitGroups, offset: Pattern
) -> (bytes: [UInt8], largestCode: Int) {
    let byteCount = groups.layout.byteCount(codes.count)
    var largest: Pattern = 0
    // A number is written as nine bytes: eight for its low bits, the ninth for the bits that the shift moved out.
    let bytes = [UInt8](unsafeUninitializedCapacity: byteCount + 9) { buffer, initialized in
        var writer = BitWriter(UnsafeMutableRawBufferPointer(buffer))
        let base = groups.base
        var start = 0
        while start < codes.count {
            let count = min(groups.codes, codes.count - start)
            var value: UInt64 = 0
            for index in stride(from: start + count - 1, through: start, by: -1) {
                let stored = codes[index] &+ offset
                largest = max(largest, stored)
                value = value &* base &+ UInt64(truncatingIfNeeded: stored)
            }
            writer.append(value, bits: count == groups.codes ? groups.bits : groups.bits(ofBlockWith: count))
            start += count
        }
        initialized = byteCount
    }
    return (bytes, Int(largest))
}

/// Appends numbers to a bit stream, lowest bit first. Keeps the unfinished byte in a register and never reads the
/// target.
private struct BitWriter {
    private let target: UnsafeMutableRawBufferPointer
    private var byte = 0
    private var pending: UInt64 = 0
    private var pendingBits = 0

    init(_ target: UnsafeMutableRawBufferPointer) {
        self.target = target
    }

    /// Appends the low `bits` bits of `value`.
    @inline(__always)
    mutating func append(_ value: UInt64, bits: Int) {
        let shift = UInt64(pendingBits)
        let low = pending | (value &<< shift)
        // Two shifts, because a masked shift by 64 does not change the value.
        let high = (value &>> 1) &>> (63 - shift)
        target.storeBytes(of: low.littleEndian, toByteOffset: byte, as: UInt64.self)
        target[byte + 8] = UInt8(truncatingIfNeeded: high)
        let total = pendingBits + bits
        let advance = total >> 3
        pending = advance == 8 ? high : low &>> UInt64(8 * advance)
        pendingBits = total & 7
        byte += advance
    }
}
