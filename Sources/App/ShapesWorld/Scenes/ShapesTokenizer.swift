// SPDX-License-Identifier: Apache-2.0
// One token per word. Ids: 0 is padding, 1 starts every sequence, then the 24 words in the order of `vocabulary`.
// T tokens per sequence.

import BitsFusion

/// Encodes sentences of the shapes world as token ids of fixed length.
public struct ShapesTokenizer: Tokenizer, Hashable {
    /// The name that model files record.
    public static let name = "shapes-words"

    /// The padding token.
    public static let padID: Int32 = 0
    /// The first token of every sequence.
    public static let startID: Int32 = 1
    /// The sequence length of the shipped models. The longest sentence needs `leastLength`.
    public static let defaultLength = 12

    /// Tokens of the longest sentence of the grammar (8 words), start token included.
    public static let leastLength = 9

    /// All words; word i has id i + 2. The order is part of the trained models' format.
    public static let vocabulary: [String] =
        ["a", "and", "of", "left", "right", "above", "below"] + SceneCaption.countWords
        + ShapeColor.allCases.map(\.word) + ShapeKind.allCases.map(\.noun) + ShapeKind.allCases.map(\.plural)
    /// The number of ids: words, padding and start.
    public static let vocabularySize = vocabulary.count + 2

    private static let ids: [String: Int32] = Dictionary(
        uniqueKeysWithValues: vocabulary.enumerated().map { ($1, Int32($0) + 2) })

    /// Tokens per sequence, T.
    public let length: Int

    /// A tokenizer for sequences of `length` tokens.
    ///
    /// - Precondition: `length` >= `leastLength`, so that every sentence of the grammar fits.
    public init(length: Int = ShapesTokenizer.defaultLength) {
        precondition(
            length >= Self.leastLength,
            "ShapesTokenizer: length \(length) is below \(Self.leastLength), the longest caption's")
        self.length = length
    }

    /// The ids of `text`, [T]: start, one id per word, padding. The empty prompt is start and padding only.
    ///
    /// - Throws: `CaptionError.unknownWord`, `.tooManyWords` for more than T - 1 words.
    public func encode(_ text: String) throws(CaptionError) -> [Int32] {
        let words = Self.words(in: text)
        guard words.count < length else {
            throw .tooManyWords(count: words.count, limit: length - 1, prompt: text)
        }
        var sequence = emptyPrompt
        for (position, word) in words.enumerated() {
            guard let id = Self.ids[word] else {
                throw .unknownWord(word: word, prompt: text, known: Self.vocabulary)
            }
            sequence[position + 1] = id
        }
        return sequence
    }

    /// The ids of a caption, [T]. A caption has only known words and always fits.
    public func encode(_ caption: SceneCaption) -> [Int32] {
        do {
            return try encode(caption.text)
        } catch {
            preconditionFailure("ShapesTokenizer: a caption left the vocabulary: \(error)")
        }
    }

    /// The ids of the empty prompt, [T], which classifier-free guidance uses for "no caption".
    public var emptyPrompt: [Int32] {
        [Self.startID] + Array(repeating: Self.padID, count: length - 1)
    }

    /// The words of `ids` in order, without start and padding; "?" for an id outside the vocabulary.
    public func decode(_ ids: [Int32]) -> String {
        ids.filter { $0 != Self.padID && $0 != Self.startID }.map { id in
            let index = Int(id) - 2
            return Self.vocabulary.indices.contains(index) ? Self.vocabulary[index] : "?"
        }.joined(separator: " ")
    }

    public var name: String { Self.name }
    public var modelMaxLength: Int { length }
    public var vocabSize: Int { Self.vocabularySize }

    /// Whether `word`, in lower case, is in the vocabulary.
    static func isKnown(_ word: String) -> Bool { ids[word] != nil }

    /// `text` in lower case, split at white space, without a final period.
    static func words(in text: String) -> [String] {
        var words = text.lowercased().split(whereSeparator: \.isWhitespace).map(String.init)
        if let last = words.last, last.hasSuffix(".") {
            words.removeLast()
            if last.count > 1 { words.append(String(last.dropLast())) }
        }
        return words
    }
}
