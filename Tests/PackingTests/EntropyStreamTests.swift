// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Packing

@Suite struct EntropyStreamTests {
    private func unpackError(_ bytes: [UInt8], _ count: Int, _ levels: Int) -> PackingError? {
        do {
            _ = try unpackCodes(bytes, count: count, levels: levels, encoding: .entropy, as: Int16.self)
            return nil
        } catch {
            return error
        }
    }

    /// Codes among which 0 is the most frequent, computed by integer arithmetic.
    private func skewedCodes(count: Int, levels: Int, seed: UInt64) -> [UInt8] {
        var random = SeededGenerator(state: seed)
        return (0..<count).map { _ in
            UInt8((0..<3).map { _ in Int.random(in: 0..<levels, using: &random) }.min() ?? 0)
        }
    }

    /// The stream with the bytes from `index` on replaced.
    private func replacing(_ bytes: [UInt8], at index: Int, with part: [UInt8]) -> [UInt8] {
        Array(bytes[..<index]) + part + Array(bytes[(index + part.count)...])
    }

    private let tuplesExample = (0..<64).map { UInt8([0, 0, 0, 16, 0, 0, 3, 0][$0 % 8]) }

    // Streams that must never change, because files contain them.

    @Test("a stream with a model of codes equals the recorded one")
    func goldenCodes() throws {
        let codes = (0..<120).map { UInt8([1, 1, 1, 1, 0, 1, 2, 1, 1, 1, 1][$0 % 11 * ($0 / 11) % 11]) }
        let bytes = try packCodes(codes, levels: 3, encoding: .entropy)
        #expect(
            bytes == [
                177, 0, 87, 169, 213, 171, 0, 0, 148, 36, 0, 85, 88, 68, 67, 209, 77, 131, 128, 132, 160, 121,
                52,
            ])
        #expect(try unpackCodes(bytes, count: 120, levels: 3, encoding: .entropy, as: UInt8.self) == codes)
    }

    @Test("the stream of a constant consists of frequencies and a state")
    func goldenConstant() throws {
        let codes = [UInt8](repeating: 2, count: 1000)
        let bytes = try packCodes(codes, levels: 5, encoding: .entropy)
        // Model 1, P = 8; 2^0 lanes; of five weights the third is 2^12, a number of 13 bits.
        #expect(bytes == [0x81, 0, 0b0000_0000, 0b0000_1101, 0, 0, 0, 0, 1, 0])
    }

    @Test("a stream with a model of tuples equals the recorded one")
    func goldenTuples() throws {
        let bytes = try packCodes(tuplesExample, levels: 17, encoding: .entropy)
        #expect(
            bytes == [
                130, 0, 8, 4, 48, 0, 0, 0, 0, 0, 0, 96, 0, 58, 30, 15, 0, 94, 24, 156, 45, 152, 116, 224, 138,
            ])
        // Model 2, P = 8: frequencies 192 (8 bits), 32 (6 bits) and 32.
    }

    @Test(
        "streams with many lanes equal the recorded ones",
        arguments: [
            (3, 300_000, 15_510_417_428_995_650_520), (5, 400_000, 5_616_525_013_323_673_591),
            (17, 50_000, 15_153_253_221_597_977_080),
        ])
    func goldenLanes(levels: Int, count: Int, hash: UInt64) throws {
        let codes = skewedCodes(count: count, levels: levels, seed: 1)
        let bytes = try packCodes(codes, levels: levels, encoding: .entropy)
        // FNV-1a.
        let found = bytes.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
        #expect(found == hash)
        #expect(bytes[1] > 1)
    }

    @Test("the fast functions agree with the reference")
    func reference() throws {
        for levels in [2, 3, 4, 5, 6, 7, 9, 16, 17, 64, 256] {
            for count in [0, 1, 2, 7, 66, 1021, 4099, 60_000] {
                let codes = skewedCodes(count: count, levels: levels, seed: UInt64(count + levels))
                for codes in [codes, codes.map { $0 == 1 ? 1 : 0 }] {
                    let bytes = try packCodes(codes, levels: levels, encoding: .entropy)
                    let read = try ReferencePacking.unpackEntropy(bytes, count: count, levels: levels)
                    #expect(read == codes.map(Int.init), "\(levels) levels, \(count) codes")
                }
            }
        }
    }

    @Test("the stream of 0 codes is empty")
    func empty() throws {
        #expect(try packCodes([] as [UInt8], levels: 3, encoding: .entropy) == [])
        #expect(unpackError([], 0, 3) == nil)
        #expect(unpackError([0], 0, 3) != nil)
        #expect(unpackError([], 1, 3) == .streamCutOff(part: "header", bytes: 0))
    }

    @Test("incompressible codes are stored as radix groups after a zero byte")
    func radixGroups() throws {
        let bytes = try packCodes([1, 2, 0, 2, 1, 2, 0, 1] as [UInt8], levels: 3, encoding: .entropy)
        #expect(bytes == [0, 142, 11])
        #expect(
            unpackError([0, 142], 8, 3)
                == .wrongByteCount(count: 8, levels: 3, encoding: .entropy, expected: 3, found: 2))
        #expect(
            unpackError([0, 243, 11], 8, 3)
                == .groupOutOfRange(firstIndex: 0, found: 243, maximum: 242, levels: 3))
    }

    // Corrupted streams. Files have checksums; here every byte must be safe to read.

    @Test(
        "unknown headers are rejected",
        arguments: [0x83, 0x71, 0xF1, 0x10, 0x84, 0x01] as [UInt8])
    func unknownHeader(first: UInt8) throws {
        var bytes = try packCodes([UInt8](repeating: 2, count: 1000), levels: 5, encoding: .entropy)
        bytes[0] = first
        #expect(unpackError(bytes, 1000, 5) == .unknownStreamHeader(bytes: [first, 0]))
        bytes[0] = 0x81
        bytes[1] = 9
        #expect(unpackError(bytes, 1000, 5) == .unknownStreamHeader(bytes: [0x81, 9]))
        // Tuples of one code have no model of codes.
        bytes[1] = 0
        #expect(unpackError(bytes, 1000, 17) == .unknownStreamHeader(bytes: [0x81, 0]))
    }

    @Test("frequencies with a wrong sum or nonzero padding are rejected")
    func wrongFrequencies() throws {
        let bytes = try packCodes([UInt8](repeating: 2, count: 1000), levels: 5, encoding: .entropy)
        #expect(
            unpackError(replacing(bytes, at: 4, with: [1]), 1000, 5)
                == .wrongFrequencySum(found: 4096 + 16, expected: 4096))
        // 17 numbers with 85 bits in total leave three bits of byte 2 + 10.
        let padded = try packCodes(tuplesExample, levels: 17, encoding: .entropy)
        #expect(
            unpackError(replacing(padded, at: 12, with: [padded[12] | 0x80]), 64, 17)
                == .nonZeroFrequencyPadding(bits: 4))
        #expect(unpackError(Array(bytes[..<3]), 1000, 5) == .streamCutOff(part: "frequencies", bytes: 1))
    }

    @Test("impossible states and words are rejected")
    func wrongStates() throws {
        let bytes = try packCodes([UInt8](repeating: 2, count: 1000), levels: 5, encoding: .entropy)
        #expect(unpackError(Array(bytes[..<9]), 1000, 5) == .streamCutOff(part: "states", bytes: 9))
        #expect(
            unpackError(replacing(bytes, at: 6, with: [255, 255, 0, 0]), 1000, 5)
                == .wrongStreamStart(faultyLanes: 1, lanes: 1))
        #expect(
            unpackError(replacing(bytes, at: 6, with: [1]), 1000, 5)
                == .wrongStreamEnd(unreadBytes: 0, faultyLanes: 1, lanes: 1))
        #expect(
            unpackError(bytes + [7], 1000, 5) == .wrongStreamEnd(unreadBytes: 1, faultyLanes: 0, lanes: 1))
        let codes = skewedCodes(count: 1000, levels: 17, seed: 3)
        let varied = try packCodes(codes, levels: 17, encoding: .entropy)
        guard case .streamCutOff(part: "words", _) = unpackError(varied.dropLast(2), 1000, 17) else {
            Issue.record("a stream without its last word is read")
            return
        }
    }

    @Test("a last tuple with wrong padding is rejected")
    func wrongFilling() throws {
        // The last tuple ends with two different codes: truncated between them, the second one is wrong padding.
        let codes = skewedCodes(count: 1000, levels: 3, seed: 6)
        let bytes = try packCodes(codes, levels: 3, encoding: .entropy)
        let count = try #require((996..<1000).first { codes[$0 - 1] != codes[$0] })
        #expect(
            unpackError(bytes, count, 3)
                == .wrongFilling(lastCode: Int(codes[count - 1]), found: Int(codes[count])))
    }

    @Test(
        "a stream with any byte replaced, or truncated at any position, gives an error or codes within the levels",
        arguments: [(3, 300), (3, 15), (5, 200), (17, 100), (257, 40), (16, 120)])
    func damagedBytes(levels: Int, count: Int) throws {
        let codes = skewedCodes(count: count, levels: min(levels, 256), seed: 8)
        let sound = try packCodes(codes.map(UInt16.init), levels: levels, encoding: .entropy)
        var (accepted, tried) = (0, 0)
        func check(_ bytes: [UInt8]) {
            tried += 1
            guard
                let read = try? unpackCodes(
                    bytes, count: count, levels: levels, encoding: .entropy, as: UInt16.self)
            else { return }
            accepted += 1
            #expect(read.count == count && read.allSatisfy { $0 < levels })
        }
        for index in sound.indices {
            check(Array(sound[..<index]))
            for change in 1...255 as ClosedRange<UInt8> {
                check(replacing(sound, at: index, with: [sound[index] ^ change]))
            }
        }
        // Radix groups have almost no redundancy; the last state of a lane has 16 bits of redundancy.
        #expect(sound[0] == 0 || accepted * 100 < tried)
    }

    @Test(
        "random bytes in streams with many lanes give errors or codes within the levels",
        arguments: [3, 9, 17, 200])
    func damagedLanes(levels: Int) throws {
        var random = SeededGenerator(state: 2)
        let count = 60_000
        let sound = try packCodes(
            skewedCodes(count: count, levels: levels, seed: 2), levels: levels, encoding: .entropy)
        for trial in 0..<400 {
            var bytes = sound
            for _ in 0..<(1 + trial % 3) {
                // The header and frequencies more often than the words.
                let end = trial % 2 == 0 ? bytes.count : 60
                bytes[Int.random(in: 0..<end, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if trial % 5 == 0 { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
            let read = try? unpackCodes(
                bytes, count: count, levels: levels, encoding: .entropy, as: UInt8.self)
            #expect(read?.allSatisfy { $0 < levels } != false)
        }
    }
}
