// SPDX-License-Identifier: Apache-2.0
// Codes -> bytes. `PackingLayout` says where each code goes; `ReferencePacking` is the slow twin that the tests compare
// this with.

/// Packs `codes` into bytes.
///
/// - Parameters:
///   - codes: stored codes (unsigned types) or grid codes (signed types), see `PackableCode`; may be empty.
///   - levels: L, in `PackingLayout.supportedLevels`.
///   - encoding: how the codes become bits.
/// - Returns: `packedByteCount(count: codes.count, levels: levels, encoding: encoding)` bytes, for an encoding without
///   fixed size at most `packedByteCountBound(...)`. Equal codes give equal bytes.
/// - Throws: `PackingError.unsupportedLevels`; `PackingError.codeOutOfRange` for the first code that is not one of the
///   L levels.
/// - Precondition: `Code` holds L levels.
/// - Complexity: O(n), one pass; `entropy` takes three, and up to 4n bytes of memory.
public func packCodes<Code: PackableCode>(
    _ codes: UnsafeBufferPointer<Code>, levels: Int, encoding: PackingEncoding
) throws(PackingError) -> [UInt8] {
    // What entropy coding cannot make smaller is stored in radix groups.
    let layout = try PackingLayout(levels: levels, encoding: encoding.hasFixedSize ? encoding : .radix)
    Code.requireRoom(levels: levels, "packCodes")
    let groups = BitGroups(layout)
    let offset = Code.offset(levels: levels)
    // A signed code plus its offset, in wrapping arithmetic, has the bits of the stored code: two loops serve all types.
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
/// - Throws: as the function on buffers does.
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

/// Packs without checking; the caller looks at the largest stored code, which a negative one makes large, before it
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
    // Numbers are written as nine bytes each: eight hold the number's low bits, the ninth what the shift pushed out.
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

/// Appends numbers to a stream of bits, lowest bit first. Keeps the unfinished byte in a register and only ever stores.
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
        // Two shifts, as one by 64 would leave the value as it is.
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
