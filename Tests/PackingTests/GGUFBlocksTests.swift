// SPDX-License-Identifier: Apache-2.0
// Blocks of GGUF files against bytes that the package `gguf` reads as the same codes times the same scale
// (Tests/Fixtures/make_gguf_fixtures.py).

import Foundation
import TestKit
import Testing

@testable import Packing

@Suite struct GGUFBlocksTests {
    private struct Row: Decodable {
        let type: String
        let number: UInt32
        let scale: UInt16
        let codes: [Int16]
        let bytes: String
    }

    private func blocks(_ type: GGUFBlockType, _ codes: [Int16], scale: UInt16) -> [UInt8] {
        var bytes = [UInt8](repeating: 0xff, count: codes.count / type.codesPerBlock * type.bytesPerBlock)
        codes.withUnsafeBufferPointer { codes in
            bytes.withUnsafeMutableBufferPointer { type.write(codes, scale: scale, to: $0) }
        }
        return bytes
    }

    @Test("blocks of every type are those that the package gguf reads as the same weights")
    func fixtures() throws {
        let rows: [Row] = try fixture("gguf-blocks", in: .module)
        #expect(Set(rows.map(\.number)) == Set(GGUFBlockType.allCases.map(\.rawValue)))
        for row in rows {
            let type = try #require(GGUFBlockType(rawValue: row.number))
            #expect(type.name == row.type)
            #expect(row.codes.min().map(Int.init) == type.codes.lowerBound)
            #expect(row.codes.max().map(Int.init) == type.codes.upperBound)
            let text = blocks(type, row.codes, scale: row.scale).map { String(format: "%02x", $0) }.joined()
            #expect(text == row.bytes, "\(row.type)")
        }
    }

    @Test("the smallest type that holds all levels of a row is chosen")
    func smallest() {
        func name(_ bits: Int, _ rowLength: Int) -> String? {
            let limit = 1 << (bits - 1)
            return GGUFBlockType.smallest(for: -limit...limit, rowLength: rowLength)?.name
        }
        let long = (1...8).map { name($0, 2304) ?? "-" }
        #expect(long == ["Q2_K", "Q3_K", "Q4_0", "Q5_0", "Q6_K", "Q8_0", "Q8_0", "-"])
        let short = (1...8).map { name($0, 320) ?? "-" }
        #expect(short == ["Q4_0", "Q4_0", "Q4_0", "Q5_0", "Q8_0", "Q8_0", "Q8_0", "-"])
        #expect(name(1, 36) == nil && name(1, 0) == nil)
        // LSQ's grids have one positive code less.
        #expect(GGUFBlockType.smallest(for: -2...1, rowLength: 256) == .q3K)
        #expect(GGUFBlockType.smallest(for: -128...127, rowLength: 32) == .q80)
    }
}
