// SPDX-License-Identifier: Apache-2.0

import Checkpoints
import Foundation
import Testing

@testable import Recipes

@Suite struct BitWidthTests {
    @Test(
        "b nominal bits have 2^b + 1 levels",
        arguments: [(1, 3), (2, 5), (3, 9), (4, 17), (5, 33), (6, 65), (7, 129), (8, 257)])
    func levels(nominal: Int, levels: Int) {
        #expect(BitWidth(nominal).levels == levels)
        #expect(pow(2, BitWidth(nominal).effectiveBits).rounded() == Double(levels))
    }

    @Test("nominal bits outside of 1...8 are rejected", arguments: [-1, 0, 9, Int.max])
    func outOfRange(nominal: Int) {
        #expect(BitWidth(rawValue: nominal) == nil)
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode([BitWidth].self, from: Data("[\(nominal)]".utf8))
        }
    }

    @Test("widening stops at 8 bits")
    func widening() {
        #expect(BitWidth(4).widened(by: 3) == BitWidth(7))
        #expect(BitWidth(7).widened(by: 3) == BitWidth(8))
        #expect(BitWidth(2).widened(by: 0) == BitWidth(2))
    }

    @Test("a dictionary keyed by bits is a JSON object")
    func dictionaryKeys() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let text = try String(decoding: encoder.encode([BitWidth(1): 5, BitWidth(3): 7]), as: UTF8.self)
        #expect(text == #"{"1":5,"3":7}"#)
        let back = try JSONDecoder().decode([BitWidth: Int].self, from: Data(text.utf8))
        #expect(back == [BitWidth(1): 5, BitWidth(3): 7])
    }
}
