// SPDX-License-Identifier: Apache-2.0
// Tokens that are found in the text before it is split into words: the start and end tokens, the padding token and
// tokens that were added to the vocabulary. The longest one at the leftmost position wins.

/// A token that is matched as a whole.
struct AddedToken: Equatable, Sendable {
    var content: String
    /// Matched in the normalized text; otherwise in the text as typed, upper and lower case distinguished.
    var isNormalized = false
    /// Not matched inside of words.
    var isSingleWord = false
    /// The id that a file gives; nil if none does.
    var id: Int?
}

/// Finds added tokens in text.
struct AddedTokenMatcher: Sendable {
    /// A part of a text: an added token, or text between added tokens.
    enum Part {
        case token(Int32)
        case text(ArraySlice<Unicode.Scalar>)
    }

    private struct Pattern {
        let scalars: [Unicode.Scalar]
        let id: Int32
        let isSingleWord: Bool
    }

    /// The longest patterns first.
    private let patterns: [Pattern]
    private let firsts: Set<Unicode.Scalar>

    init(_ tokens: [(token: AddedToken, id: Int32)], normalized: Bool) {
        patterns = tokens.filter { $0.token.isNormalized == normalized }.map { token, id in
            let scalars = token.content.unicodeScalars
            return Pattern(
                scalars: normalized ? CLIPTextSplitter.normalize(scalars) : Array(scalars), id: id,
                isSingleWord: token.isSingleWord)
        }.filter { !$0.scalars.isEmpty }.sorted { $0.scalars.count > $1.scalars.count }
        firsts = Set(patterns.compactMap(\.scalars.first))
    }

    /// The parts of `text` in order.
    func split(_ text: ArraySlice<Unicode.Scalar>) -> [Part] {
        var parts: [Part] = []
        var start = text.startIndex, position = start
        while position < text.endIndex {
            guard firsts.contains(text[position]),
                let pattern = patterns.first(where: { text[position...].starts(with: $0.scalars) })
            else {
                position += 1
                continue
            }
            let end = position + pattern.scalars.count
            if pattern.isSingleWord, Self.isWord(text[..<position].last) || Self.isWord(text[end...].first) {
                position = end
                continue
            }
            if start < position { parts.append(.text(text[start..<position])) }
            parts.append(.token(pattern.id))
            start = end
            position = end
        }
        if start < text.endIndex { parts.append(.text(text[start...])) }
        return parts
    }

    /// `\w`: letters, marks, decimal digits, connectors.
    private static func isWord(_ scalar: Unicode.Scalar?) -> Bool {
        guard let scalar else { return false }
        return switch scalar.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: true
        default: scalar.properties.isAlphabetic
        }
    }
}
