// SPDX-License-Identifier: Apache-2.0
// CLIP's tokenizer, with the ids of transformers 5's `CLIPTokenizer` (models/clip/tokenization_clip.py) and of the
// `tokenizers` library behind it. T tokens per sequence.

import Files

/// Converts prompts to ids: start token, at most T - 2 tokens of the text, end token, padding.
///
/// The padding token is `<|endoftext|>` for Stable Diffusion 1 and the first tokenizer of Stable Diffusion XL, and `!`
/// (id 0) for Stable Diffusion 2 and the second tokenizer of XL. There, as in diffusers, a `!` in a prompt becomes
/// id 0 too; with `<|endoftext|>` as the padding token it becomes 256 (`!</w>`) or a part of longer tokens.
///
/// Prompts that contain `<|startoftext|>` or `<|endoftext|>` get the ids of these tokens.
public struct CLIPTokenizer: Tokenizer {
    /// The name of transformers' class.
    public static let name = "CLIPTokenizer"

    public var name: String { Self.name }
    public let modelMaxLength: Int
    /// The largest id plus one.
    public let vocabSize: Int
    public let files: TokenizerFiles?

    /// The ids of the start, end and padding tokens.
    public let bosTokenId, eosTokenId, padTokenId: Int32
    private let unknownID: Int32?
    private let unknownToken: String

    private let vocabulary: BytePairVocabulary
    private let typedTokens, normalizedTokens: AddedTokenMatcher

    /// The tokenizer of a folder's files.
    ///
    /// - Parameters:
    ///   - files: vocab.json and merges.txt, or tokenizer.json; the config files are optional.
    ///   - maxPositionEmbeddings: the largest length that the text encoder supports. It is T where the files give no
    ///     length.
    /// - Throws: `TokenizerError.missingFile`, `.invalidJSON`, `.invalidValue`, `.duplicateID`, `.invalidMerge`,
    ///   `.unknownMergeToken`, `.noMerges`, `.missingToken`,
    ///   `.addedTokenID`; `.length` if `model_max_length` is above `maxPositionEmbeddings`.
    public init(files: TokenizerFiles, maxPositionEmbeddings: Int = 77) throws(TokenizerError) {
        let document = try files.object("tokenizer.json")
        let special = try SpecialTokens(files: files, tokenizerJSON: document)
        var vocabulary = try BytePairVocabulary(files: files, tokenizerJSON: document)
        modelMaxLength = special.modelMaxLength ?? maxPositionEmbeddings
        guard (2...max(maxPositionEmbeddings, 2)).contains(modelMaxLength), maxPositionEmbeddings >= 2 else {
            throw .length(name: Self.name, minimum: max(modelMaxLength, 2), found: maxPositionEmbeddings)
        }
        unknownToken = special.unknown
        // Looked up before added tokens, which are no tokens of the model.
        unknownID = vocabulary.ids[special.unknown]
        for (key, token) in [("bos_token", special.bos), ("eos_token", special.eos)]
        where vocabulary.ids[token] == nil && !special.added.contains(where: { $0.content == token && $0.id != nil }) {
            throw .missingToken(key: key, token: token)
        }
        var added: [(token: AddedToken, id: Int32)] = []
        for token in special.added {
            let id = vocabulary.add(token.content)
            if let given = token.id, given != Int(id) {
                throw .addedTokenID(token: token.content, expected: Int(id), found: given)
            }
            added.append((token, id))
        }
        bosTokenId = vocabulary.add(special.bos)
        eosTokenId = vocabulary.add(special.eos)
        padTokenId = vocabulary.add(special.pad)
        vocabSize = vocabulary.tokens.count
        typedTokens = AddedTokenMatcher(added, normalized: false)
        normalizedTokens = AddedTokenMatcher(added, normalized: true)
        self.vocabulary = vocabulary
        self.files = files
    }

    /// The ids of `text`, `[T]`: start token, text, end token, padding. A text of more than T - 2 tokens is cut off.
    ///
    /// - Throws: `TokenizerError.unrepresentable`, which vocabularies with all bytes, such as CLIP's, never cause.
    public func encode(_ text: String) throws(TokenizerError) -> [Int32] { padded(try textIDs(text)) }

    /// As `encode`, with the text of the tokens that were cut off as diffusers reports it: normalized, with a space
    /// after each word.
    public func tokenize(_ text: String) throws(TokenizerError) -> TokenizedText {
        let ids = try textIDs(text)
        return TokenizedText(ids: padded(ids), truncatedText: decode(ids.dropFirst(modelMaxLength - 2)))
    }

    /// The ids of `text` alone: no start, end and padding tokens, any length.
    ///
    /// - Throws: as `encode`.
    public func textIDs(_ text: String) throws(TokenizerError) -> [Int32] {
        var ids: [Int32] = []
        for part in typedTokens.split(Array(text.unicodeScalars)[...]) {
            switch part {
            case .token(let id): ids.append(id)
            case .text(let typed):
                for part in normalizedTokens.split(CLIPTextSplitter.normalize(typed)[...]) {
                    switch part {
                    case .token(let id): ids.append(id)
                    case .text(let normalized): try append(normalized, to: &ids)
                    }
                }
            }
        }
        return ids
    }

    /// The text of `ids`, as transformers' `decode`: start, end and padding tokens are written out, words are separated
    /// by spaces, bytes that are not UTF-8 become U+FFFD. Ids without a token are skipped.
    public func decode(_ ids: some Sequence<Int32>) -> String {
        let bytes = ids.compactMap(vocabulary.token).flatMap(ByteCharacters.bytes)
        var text = String(decoding: bytes, as: UTF8.self).unicodeScalars[...]
        var result = String.UnicodeScalarView()
        let suffix = BytePairVocabulary.endOfWord.unicodeScalars
        while let first = text.first {
            if first == "<", text.starts(with: suffix) {
                result.append(" ")
                text = text.dropFirst(suffix.count)
            } else {
                result.append(first)
                text = text.dropFirst()
            }
        }
        var trimmed = result[...]
        while trimmed.first.map(Self.isBlank) == true { trimmed.removeFirst() }
        while trimmed.last.map(Self.isBlank) == true { trimmed.removeLast() }
        return String(trimmed)
    }

    private func append(_ text: ArraySlice<Unicode.Scalar>, to ids: inout [Int32]) throws(TokenizerError) {
        for word in CLIPTextSplitter.words(text) {
            let string = CLIPTextSplitter.string(word)
            guard vocabulary.encode(Array(string.utf8), unknown: unknownID, into: &ids) else {
                throw .unrepresentable(piece: string, unknownToken: unknownToken)
            }
        }
    }

    private func padded(_ ids: [Int32]) -> [Int32] {
        let kept = [bosTokenId] + ids.prefix(modelMaxLength - 2) + [eosTokenId]
        return kept + Array(repeating: padTokenId, count: modelMaxLength - kept.count)
    }

    /// The characters that Python's `strip` removes: white space and the information separators.
    private static func isBlank(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
    }
}
