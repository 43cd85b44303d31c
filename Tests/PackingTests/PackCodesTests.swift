// SPDX-License-Identifier: Apache-2.0

import TestKit
import Testing

@testable import Packing

/// Equal numbers for equal seeds: the splitmix64 sequence.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// The encodings with groups; `EntropyCodingTests` tests the other one.
let fixedSizeEncodings = PackingEncoding.allCases.filter(\.hasFixedSize)

/// Patterns with the smallest and largest values of every field and group.
func adversarialCodes(count: Int, levels: Int, seed: UInt64) -> [[UInt16]] {
    var random = SeededGenerator(state: seed)
    let largest = UInt16(levels - 1)
    return [
        [UInt16](repeating: 0, count: count),
        [UInt16](repeating: largest, count: count),
        (0..<count).map { $0 % 2 == 0 ? 0 : largest },
        (0..<count).map { $0 % 2 == 0 ? largest : 0 },
        (0..<count).map { $0 == count - 1 ? largest : 0 },
        (0..<count).map { _ in UInt16.random(in: 0...largest, using: &random) },
    ]
}

@Suite struct PackCodesTests {
    @Test("three levels have the documented layout", arguments: fixedSizeEncodings)
    func drawing(encoding: PackingEncoding) throws {
        let codes: [UInt8] = [1, 2, 0, 2, 1, 2, 0, 1]
        let bytes = try packCodes(codes, levels: 3, encoding: encoding)
        if encoding == .fixed {
            #expect(bytes == [0b10_00_10_01, 0b01_00_10_01])
        } else {
            #expect(bytes == [142, 11])  // 1 + 3·2 + 27·2 + 81·1, 2 + 9·1
        }
    }

    @Test("groups that end within a byte are followed directly by the next group")
    func unalignedGroups() throws {
        // 11 codes of 17 levels take 45 bits: code 11 starts at bit 45, the sixth bit of byte 5, and takes five bits.
        var codes = [UInt8](repeating: 0, count: 12)
        codes[11] = 0b1101
        let bytes = try packCodes(codes, levels: 17, encoding: .radix)
        #expect(bytes == [0, 0, 0, 0, 0, 0b1010_0000, 0b1])
    }

    @Test("codes of every number of levels and length 0...67 round-trip", arguments: fixedSizeEncodings)
    func shortRoundTrips(encoding: PackingEncoding) throws {
        for levels in PackingLayout.supportedLevels {
            for count in 0...67 {
                for codes in adversarialCodes(
                    count: count, levels: levels, seed: UInt64(levels * 100 + count))
                {
                    let bytes = try packCodes(codes, levels: levels, encoding: encoding)
                    let back = try unpackCodes(
                        bytes, count: count, levels: levels, encoding: encoding, as: UInt16.self)
                    guard bytes.count == packedByteCount(count: count, levels: levels, encoding: encoding),
                        back == codes
                    else {
                        Issue.record("\(levels) levels, \(count) codes \(codes) -> \(bytes) -> \(back)")
                        return
                    }
                }
            }
        }
    }

    @Test("long streams round-trip in every integer type", .slow, arguments: PackingEncoding.allCases)
    func longRoundTrips(encoding: PackingEncoding) throws {
        func roundTrips<Code: PackableCode>(_ stored: [UInt16], _ levels: Int, as type: Code.Type) throws
            -> Bool
        {
            let offset = Code.isSigned ? (levels - 1) / 2 : 0
            let codes = stored.map { Code(Int($0) - offset) }
            let bytes = try packCodes(codes, levels: levels, encoding: encoding)
            return try unpackCodes(bytes, count: codes.count, levels: levels, encoding: encoding, as: type)
                == codes
                && bytes == packCodes(stored, levels: levels, encoding: encoding)
        }
        for levels in PackingLayout.supportedLevels {
            for count in [64 * 64, 9973] {
                for stored in adversarialCodes(count: count, levels: levels, seed: UInt64(levels)) {
                    #expect(try roundTrips(stored, levels, as: UInt16.self), "\(levels) levels")
                    #expect(try roundTrips(stored, levels, as: Int16.self), "\(levels) levels")
                    if levels <= 256 {
                        #expect(try roundTrips(stored, levels, as: UInt8.self), "\(levels) levels")
                    }
                    if levels <= 255 {
                        #expect(try roundTrips(stored, levels, as: Int8.self), "\(levels) levels")
                    }
                }
            }
        }
    }

    @Test("the fast functions agree with the reference", arguments: fixedSizeEncodings)
    func reference(encoding: PackingEncoding) throws {
        for levels in [2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 65, 100, 129, 255, 256, 257] {
            let layout = try PackingLayout(levels: levels, encoding: encoding)
            for count in [0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 63, 67, 1021, 4099] {
                for codes in adversarialCodes(count: count, levels: levels, seed: UInt64(count)) {
                    let bytes = ReferencePacking.pack(codes.map(Int.init), layout: layout)
                    #expect(try packCodes(codes, levels: levels, encoding: encoding) == bytes)
                    let back = ReferencePacking.unpack(bytes, count: count, layout: layout)
                    #expect(back == codes.map(Int.init))
                }
            }
        }
    }

    @Test(
        "parts divided at byte boundaries pack and unpack independently",
        arguments: fixedSizeEncodings)
    func alignedBlocks(encoding: PackingEncoding) throws {
        for levels in [3, 5, 9, 17, 33, 65, 129, 257] {
            let layout = try PackingLayout(levels: levels, encoding: encoding)
            // The smallest number of codes after which a group ends at a byte boundary, times 3.
            let cut = 3 * layout.codesPerGroup * (8 >> min(layout.bitsPerGroup.trailingZeroBitCount, 3))
            let codes = try #require(adversarialCodes(count: cut + 41, levels: levels, seed: 7).last)
            let first = try packCodes(Array(codes[..<cut]), levels: levels, encoding: encoding)
            let second = try packCodes(Array(codes[cut...]), levels: levels, encoding: encoding)
            #expect(try packCodes(codes, levels: levels, encoding: encoding) == first + second)
        }
    }

    @Test("codes outside the levels are rejected with their index", arguments: PackingEncoding.allCases)
    func codeOutOfRange(encoding: PackingEncoding) {
        for count in [7, 5000] {
            var codes = [Int8](repeating: 1, count: count)
            codes[count - 2] = 2
            #expect(throws: PackingError.codeOutOfRange(index: count - 2, stored: 3, levels: 3)) {
                try packCodes(codes, levels: 3, encoding: encoding)
            }
            codes[1] = -2
            #expect(throws: PackingError.codeOutOfRange(index: 1, stored: -1, levels: 3)) {
                try packCodes(codes, levels: 3, encoding: encoding)
            }
        }
    }
}
