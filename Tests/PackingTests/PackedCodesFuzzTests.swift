// SPDX-License-Identifier: Apache-2.0
// Corrupted bytes of every encoding and number of levels give an error or codes within the levels, never a crash, a
// hang or a read out of bounds; `make fuzz` runs these tests with sanitizers.

import TestKit
import Testing

@testable import Packing

@Suite struct PackedCodesFuzzTests {
    @Test("corrupted codes of every encoding give errors or codes within the levels", arguments: 0..<4)
    func fuzz(lane: UInt64) throws {
        var random = SeededGenerator(state: 400 + lane)
        var (tried, refused) = (0, 0)
        let wanted = fuzzInputs(4000, share: 1 / 4)
        while tried < wanted {
            let levels = Int.random(in: 2...257, using: &random)
            let encoding = PackingEncoding.allCases[Int.random(in: 0..<3, using: &random)]
            let sound = try stream(levels: levels, encoding: encoding, using: &random)
            for _ in 0..<min(200, wanted - tried) {
                let damaged = damage(sound.bytes, using: &random)
                // The number of codes in a file may also be wrong.
                let count =
                    Int.random(in: 0..<8, using: &random) == 0
                    ? Int.random(in: 0...4000, using: &random) : sound.count
                tried += 1
                do throws(PackingError) {
                    // The types that packed models are decoded to: bytes if they are sufficient.
                    let largest =
                        levels <= 256
                        ? try largestCode(damaged, count, levels, encoding, as: UInt8.self)
                        : try largestCode(damaged, count, levels, encoding, as: UInt16.self)
                    guard largest < levels else {
                        Issue.record("\(levels) levels, \(encoding.rawValue), \(count) codes: \(damaged)")
                        return
                    }
                } catch {
                    refused += 1
                    guard !error.description.isEmpty, !error.description.contains("\n") else {
                        Issue.record("the message of \(error) is not one line")
                        return
                    }
                }
            }
        }
        #expect(refused > tried / 10)
    }

    private func largestCode<Code: PackableCode>(
        _ bytes: [UInt8], _ count: Int, _ levels: Int, _ encoding: PackingEncoding, as type: Code.Type
    ) throws(PackingError) -> Int {
        let codes = try unpackCodes(bytes, count: count, levels: levels, encoding: encoding, as: type)
        return codes.count == count ? Int(codes.max() ?? 0) : .max
    }

    @Test(
        "codes of every number of levels and length up to 1000 round-trip, for several distributions", .slow,
        arguments: PackingEncoding.allCases)
    func fuzzRoundTrips(encoding: PackingEncoding) throws {
        // The entropy coder compares models for each stream and is slow: a sample of lengths here, all lengths with
        // sanitizers.
        let step = encoding.hasFixedSize || fuzzInputs(0) > 0 ? 1 : 41
        var random = SeededGenerator(state: 7)
        for levels in PackingLayout.supportedLevels {
            let codes = (0..<1000).map { _ in UInt16.random(in: 0..<UInt16(levels), using: &random) }
            for count in stride(from: levels % step, through: 1000, by: step) {
                let some = distorted(codes.prefix(count), kind: (levels + count) % 4)
                let bytes = try packCodes(some, levels: levels, encoding: encoding)
                let back = try unpackCodes(
                    bytes, count: count, levels: levels, encoding: encoding, as: UInt16.self)
                guard back == some,
                    bytes.count <= packedByteCountBound(count: count, levels: levels, encoding: encoding)
                else {
                    Issue.record("\(levels) levels, \(count) codes \(some) -> \(bytes) -> \(back)")
                    return
                }
            }
        }
    }

    /// Uniform codes, a constant with few exceptions, few large codes among small ones, and a constant.
    private func distorted(_ codes: ArraySlice<UInt16>, kind: Int) -> [UInt16] {
        switch kind {
        case 0: Array(codes)
        case 1: codes.enumerated().map { $0.offset % 97 == 13 ? $0.element : codes.first ?? 0 }
        case 2: codes.map { $0 % 7 == 0 ? $0 : $0 / 16 }
        default: codes.map { _ in codes.first ?? 0 }
        }
    }

    /// Packed codes with a random distribution: uniform, skewed, or a constant with few exceptions.
    private func stream(
        levels: Int, encoding: PackingEncoding, using random: inout SeededGenerator
    ) throws -> (bytes: [UInt8], count: Int) {
        let count = Int.random(in: 0...3000, using: &random)
        let kind = Int.random(in: 0..<3, using: &random)
        let common = UInt16.random(in: 0..<UInt16(levels), using: &random)
        let codes = (0..<count).map { _ -> UInt16 in
            let code = UInt16.random(in: 0..<UInt16(levels), using: &random)
            switch kind {
            case 0: return code
            case 1: return Int.random(in: 0..<4, using: &random) == 0 ? code : common
            default: return Int.random(in: 0..<500, using: &random) == 0 ? code : common
            }
        }
        return (try packCodes(codes, levels: levels, encoding: encoding), count)
    }

    /// Replaces bytes, at the start of the stream more often than later; then removes, adds or moves bytes.
    private func damage(_ sound: [UInt8], using random: inout SeededGenerator) -> [UInt8] {
        var bytes = sound
        if !bytes.isEmpty {
            let end = Bool.random(using: &random) ? bytes.count : min(bytes.count, 24)
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                bytes[Int.random(in: 0..<end, using: &random)] = .random(in: 0...255, using: &random)
            }
        }
        switch Int.random(in: 0..<8, using: &random) {
        case 0: bytes.removeLast(Int.random(in: 0...bytes.count, using: &random))
        case 1:
            let more = Int.random(in: 1...40, using: &random)
            bytes += (0..<more).map { _ in .random(in: 0...255, using: &random) }
        case 2 where bytes.count > 2:
            bytes.swapAt(
                Int.random(in: 0..<bytes.count, using: &random),
                Int.random(in: 0..<bytes.count, using: &random))
        default: break
        }
        return bytes
    }
}
