// SPDX-License-Identifier: Apache-2.0
// Parses a sentence into its structure by recursive descent:
//
//     caption  = count [color] plural  |  object [ ("and" | relation) object ]
//     object   = "a" [color] noun                 count    = "two" | "three" | "four"
//     relation = "left" "of" | "right" "of" | "above" | "below"

import BitsFusion

extension SceneCaption {
    /// Parses a sentence such as "a red circle left of a blue square". Case, extra spaces and a final period are
    /// ignored.
    ///
    /// - Throws: `CaptionError.unknownWord` for a word outside the vocabulary, `.unexpectedWord` and
    ///   `.unexpectedEnd` for a sentence that is not in the grammar; an empty sentence ends too early.
    public init(parsing text: String) throws(CaptionError) {
        let words = ShapesTokenizer.words(in: text)
        for word in words where !ShapesTokenizer.isKnown(word) {
            throw .unknownWord(word: word, prompt: text, known: ShapesTokenizer.vocabulary)
        }
        var parser = CaptionParser(words: words, text: text)
        self = try parser.caption()
    }
}

private struct CaptionParser {
    let words: [String]
    let text: String
    var position = 0

    mutating func caption() throws(CaptionError) -> SceneCaption {
        let first = try one(of: ["a"] + SceneCaption.countWords)
        if let count = SceneCaption.countWords.firstIndex(of: first) {
            let color = optionalColor()
            let kind = try kind(spelled: \.plural, orColor: color == nil)
            try end()
            return SceneCaption(count: count + 2, of: ObjectPhrase(kind, color))
        }
        let object = try objectAfterArticle()
        guard position < words.count else { return SceneCaption(object) }
        let link = try one(of: ["and"] + Relation.allCases.map { $0.words[0] })
        guard let relation = Relation.allCases.first(where: { $0.words[0] == link }) else {
            let second = try objectWithArticle()
            try end()
            return SceneCaption(object, and: second)
        }
        for word in relation.words.dropFirst() { _ = try one(of: [word]) }
        let second = try objectWithArticle()
        try end()
        return SceneCaption(object, relation, second)
    }

    private mutating func objectWithArticle() throws(CaptionError) -> ObjectPhrase {
        _ = try one(of: ["a"])
        return try objectAfterArticle()
    }

    private mutating func objectAfterArticle() throws(CaptionError) -> ObjectPhrase {
        let color = optionalColor()
        return ObjectPhrase(try kind(spelled: \.noun, orColor: color == nil), color)
    }

    private mutating func optionalColor() -> ShapeColor? {
        guard position < words.count,
            let color = ShapeColor.allCases.first(where: { $0.word == words[position] })
        else { return nil }
        position += 1
        return color
    }

    private mutating func kind(
        spelled word: KeyPath<ShapeKind, String>, orColor: Bool
    ) throws(CaptionError) -> ShapeKind {
        for candidate in ShapeKind.allCases
        where position < words.count && words[position] == candidate[keyPath: word] {
            position += 1
            return candidate
        }
        throw failure(
            expected: (orColor ? ShapeColor.allCases.map(\.word) : [])
                + ShapeKind.allCases.map { $0[keyPath: word] })
    }

    private mutating func one(of expected: [String]) throws(CaptionError) -> String {
        guard position < words.count, expected.contains(words[position]) else {
            throw failure(expected: expected)
        }
        position += 1
        return words[position - 1]
    }

    private func end() throws(CaptionError) {
        if position < words.count { throw failure(expected: ["the end"]) }
    }

    private func failure(expected: [String]) -> CaptionError {
        position < words.count
            ? .unexpectedWord(
                found: words[position], position: position + 1, prompt: text, expected: expected)
            : .unexpectedEnd(prompt: text, expected: expected)
    }
}

/// A prompt with words outside the vocabulary, or with another grammar.
public enum CaptionError: Error, Equatable, Sendable {
    /// `word` is not in the vocabulary `known`.
    case unknownWord(word: String, prompt: String, known: [String])
    /// Word number `position` (from 1) is `found`; the grammar allows only `expected`.
    case unexpectedWord(found: String, position: Int, prompt: String, expected: [String])
    /// The prompt ends although one of `expected` must follow.
    case unexpectedEnd(prompt: String, expected: [String])
    /// The prompt has `count` words; at most `limit` fit.
    case tooManyWords(count: Int, limit: Int, prompt: String)
}

extension CaptionError {
    public var description: String {
        switch self {
        case .unknownWord(let word, let prompt, let known):
            "prompt \"\(prompt)\": unknown word \"\(word)\"; the words are: \(known.joined(separator: " "))"
        case .unexpectedWord(let found, let position, let prompt, let expected):
            "prompt \"\(prompt)\": word \(position) is \"\(found)\", expected \(Self.choice(expected)); "
                + Self.example
        case .unexpectedEnd(let prompt, let expected):
            "prompt \"\(prompt)\": ends too early, expected \(Self.choice(expected)); " + Self.example
        case .tooManyWords(let count, let limit, let prompt):
            "prompt \"\(prompt)\": \(count) words, at most \(limit) fit; shorten it"
        }
    }

    private static let example = "write, for example, \"a red circle left of a blue square\""

    private static func choice(_ words: [String]) -> String {
        words.count == 1 ? words.joined() : "one of: " + words.joined(separator: " ")
    }
}

extension CaptionError: CategorizedError {
    public var category: ErrorCategory { .usage }
}
