// SPDX-License-Identifier: Apache-2.0
//
// What can be wrong with a prompt of the shapes world, as facts; the text is made in one place below.

import BitsFusion

/// A prompt that the shapes world has no words or no grammar for.
public enum CaptionError: Error, Equatable, Sendable {
    /// `word` is not in the vocabulary, whose words are `known`.
    case unknownWord(word: String, prompt: String, known: [String])
    /// Word number `position` (from 1) is `found`, where only one of `expected` can stand.
    case unexpectedWord(found: String, position: Int, prompt: String, expected: [String])
    /// The prompt ends where one of `expected` must follow.
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
