// SPDX-License-Identifier: Apache-2.0
// The 10,000 texts of Tests/Fixtures/make_tokenizer_fixtures.py: words, digits, punctuation, accents, characters of
// many scripts, emoji, control characters and white space, in an order that depends on the text's number only.

import TestKit

/// The parts of generated texts, from the fixture.
struct TextAtoms: Decodable {
    let words, punctuation, contractions, emoji, specials, controls, spaces, cased: [String]
    /// First and last code points of blocks.
    let ranges: [[UInt32]]

    /// Text number `index`; every fiftieth has 200 parts, the others 1 to 12.
    func text(_ index: Int) -> String {
        var random = SplitMix(seed: UInt64(index + 1))
        let count = index % 50 == 49 ? 200 : 1 + random.below(12)
        var text = String.UnicodeScalarView()
        for position in 0..<count {
            if position > 0 {
                let separator = random.below(8)
                if separator > 0 {
                    text += (separator == 1 ? random.choose(spaces) : " ").unicodeScalars
                }
            }
            text += atom(&random).unicodeScalars
        }
        return String(text)
    }

    private func atom(_ random: inout SplitMix) -> String {
        let kind = random.below(16)
        switch kind {
        case 0..<6:
            let word = random.choose(words), form = random.below(4)
            return form == 0 ? word.uppercased() : form == 1 ? word.prefix(1).uppercased() + word.dropFirst() : word
        case 6:
            return repeated(1 + random.below(12), &random) { random in
                let letter = UInt32(random.below(26))
                return scalar((random.below(5) == 0 ? 65 : 97) + letter)
            }
        case 7: return repeated(1 + random.below(5), &random) { "\($0.below(10))" }
        case 8: return repeated(1 + random.below(4), &random) { $0.choose(punctuation) }
        case 9: return random.choose(contractions)
        case 10:
            return repeated(1 + random.below(4), &random) { random in
                let letter = scalar(97 + UInt32(random.below(26)))
                return letter
                    + repeated(random.below(3), &random) { scalar(0x300 + UInt32($0.below(0x70))) }
            }
        case 11, 12:
            let range = random.choose(ranges)
            return repeated(1 + random.below(4), &random) {
                scalar(range[0] + UInt32($0.below(Int(range[1] - range[0] + 1))))
            }
        case 13: return random.choose(emoji)
        case 14: return random.choose(random.below(2) == 0 ? controls : specials)
        default: return random.choose(cased)
        }
    }

    private func repeated(
        _ count: Int, _ random: inout SplitMix, _ make: (inout SplitMix) -> String
    ) -> String {
        var text = ""
        for _ in 0..<count { text += make(&random) }
        return text
    }

    private func scalar(_ value: UInt32) -> String { Unicode.Scalar(value).map { String($0) } ?? "" }
}

extension SplitMix {
    fileprivate mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
    fileprivate mutating func choose<Value>(_ values: [Value]) -> Value { values[below(values.count)] }
}
