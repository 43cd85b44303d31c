// SPDX-License-Identifier: Apache-2.0
// Random changes of valid files for fuzzing tests: of bytes, of the tokens of a text, and of the shapes of tensors.

import Files
import Foundation
import Testing

/// Changes inputs at random. The same seed gives the same inputs on every run and machine.
public struct Mutator {
    public var random: SplitMix

    public init(seed: UInt64) { random = SplitMix(seed: seed) }

    /// Whether an event of probability 1 / `count` happens.
    public mutating func oneIn(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &random) == 0 }

    public mutating func element<Element>(_ elements: [Element]) -> Element {
        elements[Int.random(in: elements.indices, using: &random)]
    }

    // MARK: Bytes

    /// Replaces 1 to 4 bytes, half of the time among the first `head`; sometimes cuts or repeats a part.
    public mutating func bytes(_ sound: [UInt8], head: Int = 200) -> [UInt8] {
        var bytes = sound
        let end = Bool.random(using: &random) ? bytes.count : min(bytes.count, head)
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            bytes[Int.random(in: 0..<end, using: &random)] = .random(in: 0...255, using: &random)
        }
        switch Int.random(in: 0..<8, using: &random) {
        case 0: bytes.removeLast(Int.random(in: 1...bytes.count, using: &random))
        case 1:
            let start = Int.random(in: 0..<bytes.count, using: &random)
            let part = bytes[start...].prefix(Int.random(in: 1...40, using: &random))
            bytes.insert(contentsOf: part, at: Int.random(in: 0...bytes.count, using: &random))
        default: break
        }
        return bytes
    }

    // MARK: Texts

    /// Replaces, removes, repeats or exchanges 1 to 3 tokens: words, numbers, quoted texts and punctuation of JSON, CSV
    /// and lists. One text in 16 gets changed bytes instead, which may not be UTF-8.
    public mutating func text(_ sound: String) -> [UInt8] {
        if oneIn(16) { return bytes(Array(sound.utf8)) }
        var tokens = Self.tokens(sound)
        for _ in 0..<Int.random(in: 1...3, using: &random) where !tokens.isEmpty {
            let index = Int.random(in: tokens.indices, using: &random)
            switch Int.random(in: 0..<8, using: &random) {
            case 0: tokens.remove(at: index)
            case 1: tokens.insert(tokens[index], at: Int.random(in: 0...tokens.count, using: &random))
            case 2: tokens.swapAt(index, Int.random(in: tokens.indices, using: &random))
            case 3: tokens[index] = element(tokens)
            case 4: tokens.insert(element(Self.extremes), at: index)
            default: tokens[index] = element(Self.extremes)
            }
        }
        return Array(tokens.joined().utf8)
    }

    /// Values that readers must expect in any place.
    private static let extremes = [
        "0", "-1", "1", "2", "-0", "0.5", "1e308", "-1e308", "1e-320", "1e999", "9223372036854775807",
        "9223372036854775808", "-9223372036854775808", "4294967296", "1000000", "99999999999999999999999999", "NaN",
        "Infinity", "-Infinity", "null", "true", "false", "\"\"", "\"a\"", "\"-1\"", "\"\\u0000\"", "\"\\ud800\"",
        "\"../x\"", "\"/\"", "\".\"", "[]", "{}", "[[]]", "[null]", "[1,2]", "[\"\",\"\"]", "{\"a\":1}", "{\"\":{}}",
        ",", "\"", "'", "\n", "\r", "\r\n", " ", "\t", "\u{FEFF}", "\u{2028}", "e\u{301}", "👨‍👩‍👧", "\u{0}", "#", ":",
        "<|endoftext|>",
        String(repeating: "[", count: 200), String(repeating: "\"x\",", count: 300),
    ]

    private static func tokens(_ text: String) -> [String] {
        var tokens: [String] = []
        var rest = text[...]
        while let first = rest.first {
            let token: Substring
            if first == "\"" {
                let end = rest.dropFirst().firstIndex(of: "\"")
                token = end.map { rest[...$0] } ?? rest
            } else if first.isLetter || first.isNumber {
                token = rest.prefix { $0.isLetter || $0.isNumber || "._-+".contains($0) }
            } else {
                token = rest.prefix(1)
            }
            tokens.append(String(token))
            rest = rest[token.endIndex...]
        }
        return tokens
    }

    // MARK: Tensors

    /// Changes the names or shapes of 1 to 3 tensors, removes one or adds one. Sizes stay small, so that the file can
    /// be written: the number of elements is at most 10,000, or 0 with huge other extents.
    public mutating func tensors(_ sound: [String: [Int]]) -> [String: [Int]] {
        var tensors = sound
        // Sorted, since the order of a dictionary differs between runs.
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            let keys = tensors.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            guard !keys.isEmpty else { return tensors }
            let key = element(keys)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: tensors[key] = nil
            case 1: tensors[name(key, others: keys)] = tensors.removeValue(forKey: key)
            case 2: tensors[name(key, others: keys)] = tensors[key]
            default: tensors[key] = shape(tensors[key] ?? [])
            }
        }
        return tensors
    }

    private mutating func name(_ key: String, others: [String]) -> String {
        var parts = key.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        let index = Int.random(in: parts.indices, using: &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0: parts.remove(at: index)
        case 1: parts[index] = element(["", "0", "1", "7", "-1", "9999", "99999999999999999999", "weight", "x"])
        case 2: parts.insert(parts[index], at: index)
        case 3: parts = Array(parts.prefix(index))
        default: parts[index] = element(element(others).split(separator: ".").map(String.init) + ["a"])
        }
        return parts.joined(separator: ".")
    }

    private mutating func shape(_ shape: [Int]) -> [Int] {
        var shape = shape
        let extents = [0, 1, 2, 3, 5, 1 << 20, 1 << 40, 1 << 62]
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            switch Int.random(in: 0..<4, using: &random) {
            case 0 where !shape.isEmpty: shape.remove(at: Int.random(in: shape.indices, using: &random))
            case 1: shape.insert(element(extents), at: Int.random(in: 0...shape.count, using: &random))
            case 2: shape.shuffle(using: &random)
            default:
                if !shape.isEmpty { shape[Int.random(in: shape.indices, using: &random)] = element(extents) }
            }
        }
        var product = 1
        for index in shape.indices {
            let (next, overflows) = product.multipliedReportingOverflow(by: shape[index])
            if overflows || next > 10_000 && !shape[index...].contains(0) { shape[index] = 1 } else { product = next }
        }
        return product > 10_000 ? [1] : shape
    }
}

/// Tries `fuzzInputs(few)` inputs that `body` makes. Its errors must be of one of `types` and have one line of text.
///
/// - Returns: the share of inputs that were refused.
@discardableResult
public func fuzz(
    _ few: Int, seed: UInt64, share: Double = 1, errors types: [any CategorizedError.Type],
    sourceLocation: SourceLocation = #_sourceLocation, _ body: (inout Mutator) throws -> Void
) -> Double {
    var mutator = Mutator(seed: seed)
    let wanted = fuzzInputs(few, share: share)
    var refused = 0
    for index in 0..<wanted {
        do {
            try body(&mutator)
        } catch {
            refused += 1
            let text = "\(error)"
            guard types.contains(where: { $0 == type(of: error) }), !text.isEmpty, !text.contains("\n")
            else {
                Issue.record("input \(index): \(type(of: error)): \(text)", sourceLocation: sourceLocation)
                return Double(refused) / Double(wanted)
            }
        }
    }
    return Double(refused) / Double(wanted)
}
