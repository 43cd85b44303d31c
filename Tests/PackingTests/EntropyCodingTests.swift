// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestKit
import Testing

@testable import Packing

/// Standard normal values, quantized to the grid of `levels` points with the step of the least squared error, as stored
/// codes.
func normalCodes(count: Int, levels: Int, seed: UInt64) -> [UInt16] {
    var random = SeededGenerator(state: seed)
    let values = (0..<count).map { _ in
        let radius = (-2 * log(Double.random(in: 0x1p-53...1, using: &random))).squareRoot()
        return radius * cos(2 * Double.pi * Double.random(in: 0...1, using: &random))
    }
    let lowest = -Double((levels - 1) / 2)
    func code(_ value: Double, _ scale: Double) -> Double {
        min(max((value / scale).rounded(.toNearestOrEven), lowest), lowest + Double(levels - 1))
    }
    var scale = 5 / Double(levels)
    for _ in 0..<40 {
        let sums = values.prefix(50_000).reduce(into: (products: 0.0, squares: 0.0)) { sums, value in
            let code = code(value, scale)
            sums.products += code * value
            sums.squares += code * code
        }
        if sums.squares > 0, sums.products > 0 { scale = sums.products / sums.squares }
    }
    return values.map { UInt16(code($0, scale) - lowest) }
}

@Suite struct EntropyCodingTests {
    private func histogram(_ codes: [UInt16], _ levels: Int) -> [Int] {
        codes.reduce(into: [Int](repeating: 0, count: levels)) { $0[Int($1)] += 1 }
    }

    /// Packs, unpacks and compares; nil if the result differs.
    private func packedByteCount(_ codes: [UInt16], levels: Int) throws -> Int? {
        let bytes = try packCodes(codes, levels: levels, encoding: .entropy)
        let back = try unpackCodes(
            bytes, count: codes.count, levels: levels, encoding: .entropy, as: UInt16.self)
        let bound = packedByteCountBound(count: codes.count, levels: levels, encoding: .entropy)
        return back == codes && bytes.count <= bound ? bytes.count : nil
    }

    @Test("codes of every number of levels round-trip, and take at most one byte more than radix groups")
    func everyLevelCount() throws {
        for levels in PackingLayout.supportedLevels {
            for count in [0, 1, 2, 9, 67 + levels % 13, 500 + levels] {
                let patterns = adversarialCodes(count: count, levels: levels, seed: UInt64(levels + count))
                for codes in patterns + [normalCodes(count: count, levels: levels, seed: UInt64(count))] {
                    #expect(
                        try packedByteCount(codes, levels: levels) != nil, "\(levels) levels, \(count) codes")
                }
            }
        }
    }

    @Test("codes of every length up to 1000 round-trip", .slow, arguments: [2, 3, 5, 9, 17, 33, 257])
    func everyLength(levels: Int) throws {
        let largest = UInt16(levels - 1)
        let normal = normalCodes(count: 1000, levels: levels, seed: 1)
        for count in 0...1000 {
            let rare = (0..<count).map { $0 == count / 2 ? largest : 0 }
            for codes in [Array(normal.prefix(count)), rare] {
                #expect(try packedByteCount(codes, levels: levels) != nil, "\(count) codes")
            }
        }
    }

    @Test("a million codes with one rare code, or none, take a few bytes", arguments: [2, 3, 5, 9, 17, 257])
    func rareCodes(levels: Int) throws {
        let constant = [UInt16](repeating: UInt16(levels / 2), count: 1_000_000)
        #expect(try #require(try packedByteCount(constant, levels: levels)) <= 150)
        for index in [0, 123_456, 999_999] {
            var codes = constant
            codes[index] = 0
            // The smallest frequency is 2^-14, so that the common code takes at least 2^-14 / ln 2 bits: eleven bytes
            // in total.
            #expect(try #require(try packedByteCount(codes, levels: levels)) <= 400)
        }
    }

    @Test("codes with two distant values and uniform codes take their entropy", arguments: [3, 5, 9, 17, 100, 257])
    func flatDistributions(levels: Int) throws {
        var random = SeededGenerator(state: 9)
        let count = 200_000
        let pairs = (0..<count).map { _ in Bool.random(using: &random) ? UInt16(levels - 1) : 0 }
        // A code that does not occur takes half a byte in the table of frequencies.
        let table = Double(levels) / 2
        #expect(
            Double(try #require(try packedByteCount(pairs, levels: levels)))
                < Double(count) / 8 * 1.003 + table)
        let uniform = (0..<count).map { _ in UInt16.random(in: 0..<UInt16(levels), using: &random) }
        let entropy = Double(count) * log2(Double(levels)) / 8
        #expect(Double(try #require(try packedByteCount(uniform, levels: levels))) < entropy * 1.005)
    }

    @Test(
        "normal weights take within 0.3 % of their entropy",
        arguments: [(3, 100_000), (3, 1_000_000), (5, 100_000), (9, 100_000), (17, 200_000), (33, 200_000)])
    func size(levels: Int, count: Int) throws {
        let codes = normalCodes(count: count, levels: levels, seed: 3)
        let entropy = entropyEstimate(histogram: histogram(codes, levels)) / 8
        let bytes = Double(try #require(try packedByteCount(codes, levels: levels)))
        #expect(bytes < 1.003 * entropy)
        #expect(bytes > 0.995 * entropy)
    }

    @Test("dependent codes take less than the entropy of single codes")
    func dependentCodes() throws {
        var random = SeededGenerator(state: 5)
        let codes = (0..<20_000).flatMap { _ in
            [UInt16](repeating: UInt16.random(in: 0..<3, using: &random), count: 5)
        }
        let entropy = entropyEstimate(histogram: histogram(codes, 3)) / 8
        #expect(Double(try #require(try packedByteCount(codes, levels: 3))) < entropy / 4)
    }

    @Test("the reference computes the entropy")
    func estimate() {
        #expect(entropyEstimate(histogram: []) == 0)
        #expect(entropyEstimate(histogram: [0, 9, 0]) == 0)
        #expect(entropyEstimate(histogram: [4, 8, 4]) == 24)
    }

    @Test("codes of every integer type give the same bytes")
    func integerTypes() throws {
        let codes = normalCodes(count: 30_000, levels: 9, seed: 4)
        let bytes = try packCodes(codes, levels: 9, encoding: .entropy)
        #expect(try packCodes(codes.map { UInt8($0) }, levels: 9, encoding: .entropy) == bytes)
        let signed = codes.map { Int8(Int($0) - 4) }
        #expect(try packCodes(signed, levels: 9, encoding: .entropy) == bytes)
        #expect(try packCodes(signed.map(Int16.init), levels: 9, encoding: .entropy) == bytes)
        #expect(
            try unpackCodes(bytes, count: 30_000, levels: 9, encoding: .entropy, as: Int8.self) == signed)
    }

    @Test("codes outside the levels are rejected, also adjacent to each other")
    func noLevel() {
        #expect(throws: PackingError.codeOutOfRange(index: 2, stored: 255, levels: 3)) {
            try packCodes([0, 1, 255, 255] as [UInt8], levels: 3, encoding: .entropy)
        }
    }
}
