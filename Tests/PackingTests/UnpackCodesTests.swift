// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Packing

@Suite struct UnpackCodesTests {
    private func unpackError(_ bytes: [UInt8], _ count: Int, _ levels: Int, _ encoding: PackingEncoding)
        -> PackingError?
    {
        do {
            _ = try unpackCodes(bytes, count: count, levels: levels, encoding: encoding, as: Int16.self)
            return nil
        } catch {
            return error
        }
    }

    @Test("too few and too many bytes are rejected", arguments: fixedSizeEncodings)
    func wrongByteCount(encoding: PackingEncoding) throws {
        for levels in [3, 5, 9, 17, 33, 65, 129, 257] {
            for count in [1, 67, 4096] {
                let bytes = try packCodes(
                    [Int16](repeating: 0, count: count), levels: levels, encoding: encoding)
                for wrong in [bytes.dropLast(), bytes + [0]] {
                    #expect(
                        unpackError(Array(wrong), count, levels, encoding)
                            == .wrongByteCount(
                                count: count, levels: levels, encoding: encoding, expected: bytes.count,
                                found: wrong.count))
                }
            }
        }
        #expect(unpackError([0], 0, 3, encoding) != nil)
    }

    @Test("a field outside the levels is rejected with its index", arguments: [3, 700, 99_998])
    func corruptedField(index: Int) throws {
        for (levels, bits) in [(3, 2), (5, 3), (9, 4), (17, 5), (257, 9)] {
            var bytes = try packCodes(
                [UInt16](repeating: 0, count: 100_000), levels: levels, encoding: .fixed)
            for bit in (index * bits)..<((index + 1) * bits) { bytes[bit / 8] |= 1 << UInt8(bit % 8) }
            #expect(
                unpackError(bytes, 100_000, levels, .fixed)
                    == .codeOutOfRange(index: index, stored: (1 << bits) - 1, levels: levels))
        }
    }

    @Test("a group with a too large number is rejected with its index")
    func corruptedGroup() throws {
        for count in [10, 100_000] {
            var bytes = try packCodes([Int8](repeating: -1, count: count), levels: 3, encoding: .radix)
            bytes[1] = 243
            #expect(
                unpackError(bytes, count, 3, .radix)
                    == .groupOutOfRange(firstIndex: 5, found: 243, maximum: 242, levels: 3))
            bytes[1] = 242
            #expect(unpackError(bytes, count, 3, .radix) == nil)
        }
        // A last group of two codes of 3 levels has 4 bits; 9...15 are invalid.
        #expect(
            unpackError([0, 9], 7, 3, .radix)
                == .groupOutOfRange(firstIndex: 5, found: 9, maximum: 8, levels: 3))
        #expect(unpackError([0, 8], 7, 3, .radix) == nil)
    }

    @Test(
        "nonzero bits after the last code are rejected",
        arguments: [
            (PackingEncoding.radix, 2, 7), (.radix, 7, 7), (.radix, 4002, 7), (.fixed, 7, 4),
            (.fixed, 4001, 4),
        ])
    func padding(encoding: PackingEncoding, count: Int, usedBits: Int) throws {
        var bytes = try packCodes([Int8](repeating: 0, count: count), levels: 9, encoding: encoding)
        bytes[bytes.count - 1] |= 0x80
        #expect(
            unpackError(bytes, count, 9, encoding)
                == .nonZeroPadding(lastByte: bytes[bytes.count - 1], usedBits: usedBits))
    }

    @Test("random bytes never give a code outside the levels", arguments: fixedSizeEncodings)
    func randomBytes(encoding: PackingEncoding) throws {
        var random = SeededGenerator(state: 1)
        var accepted = 0
        for levels in [3, 4, 5, 9, 17, 64, 129, 256, 257] {
            for count in 1...40 {
                let size = packedByteCount(count: count, levels: levels, encoding: encoding)
                let bytes = (0..<size).map { _ in UInt8.random(in: 0...255, using: &random) }
                guard
                    let codes = try? unpackCodes(
                        bytes, count: count, levels: levels, encoding: encoding, as: UInt16.self)
                else { continue }
                accepted += 1
                #expect(codes.allSatisfy { $0 < levels })
                #expect(try packCodes(codes, levels: levels, encoding: encoding) == bytes)
            }
        }
        #expect(accepted > 0)
    }

    @Test("every error has a description of one line with its values")
    func descriptions() {
        let errors: [PackingError] = [
            .unsupportedLevels(found: 300),
            .wrongByteCount(count: 300, levels: 3, encoding: .radix, expected: 60, found: 59),
            .codeOutOfRange(index: 300, stored: 3, levels: 3),
            .groupOutOfRange(firstIndex: 300, found: 255, maximum: 242, levels: 3),
            .nonZeroPadding(lastByte: 255, usedBits: 3),
            .unknownStreamHeader(bytes: [255, 1]),
            .streamCutOff(part: "words", bytes: 300),
            .wrongFrequencySum(found: 300, expected: 4096),
            .nonZeroFrequencyPadding(bits: 255),
            .wrongStreamStart(faultyLanes: 255, lanes: 256),
            .wrongStreamEnd(unreadBytes: 300, faultyLanes: 1, lanes: 8),
            .wrongFilling(lastCode: 255, found: 0),
        ]
        for error in errors {
            #expect(!error.description.contains("\n"))
            #expect(error.description.contains("300") || error.description.contains("255"))
        }
    }
}
