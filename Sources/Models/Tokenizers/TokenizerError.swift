// SPDX-License-Identifier: Apache-2.0
// What can be wrong with a tokenizer: its name, its length, its files, or a text that it cannot represent.

import Files

/// Why a tokenizer cannot be used.
public enum TokenizerError: CategorizedError, Equatable {
    /// No tokenizer of this name is registered.
    case unknown(name: String, known: [String])
    /// The tokenizer does not support sequences of this length.
    case length(name: String, minimum: Int, found: Int)
    /// The number of rows of the text encoder's token embedding differs from the tokenizer's number of ids.
    case vocabulary(name: String, expected: Int, found: Int)
    /// The tokenizer's folder has none of the files with the vocabulary, or one of the two.
    case missingFile(String, found: [String])
    /// A file is not JSON.
    case invalidJSON(file: String, fault: JSONFault)
    /// A value of a file cannot be used, for example an id that is not a number.
    case invalidValue(file: String, key: String, value: String, expected: String)
    /// Two tokens of the vocabulary have the same id.
    case duplicateID(file: String, id: Int, tokens: [String])
    /// A line of merges.txt, counted from 1, is not two tokens separated by a space.
    case invalidMerge(file: String, line: Int, text: String)
    /// A merge, counted from 1 without the version line, uses or makes a token that the vocabulary does not have.
    case unknownMergeToken(file: String, merge: Int, token: String)
    /// There are no merges, without which words are encoded as single bytes.
    case noMerges(file: String)
    /// The vocabulary does not have the start or end token, and no file gives it an id.
    case missingToken(key: String, token: String)
    /// A file gives an added token an id that does not follow from the vocabulary.
    case addedTokenID(token: String, expected: Int, found: Int)
    /// The vocabulary has no token for a byte of the text and no unknown token.
    case unrepresentable(piece: String, unknownToken: String)
    /// A resource of the library was not found or is damaged.
    case resource(name: String, searched: [String])

    public var category: ErrorCategory {
        if case .resource = self { .inputMissing } else { .badData }
    }

    public var description: String { text.inOneLine }

    private var text: String {
        switch self {
        case .unknown(let name, let known):
            "tokenizer \"\(name)\": unknown; expected one of: \(known.joined(separator: ", ")); pass --embeddings "
                + "instead of prompts"
        case .length(let name, let minimum, let found):
            "text encoder: max_position_embeddings: too small for tokenizer \"\(name)\": expected at least "
                + "\(minimum), found \(found)"
        case .vocabulary(let name, let expected, let found):
            "text encoder: vocab_size: expected \(expected), the number of ids of tokenizer \"\(name)\", found "
                + "\(found); use a tokenizer and a text encoder of one model"
        case .missingFile(let name, let found):
            "tokenizer: \(name): missing; expected vocab.json and merges.txt, or tokenizer.json, found "
                + "\(found.isEmpty ? "none of a tokenizer's files" : found.joined(separator: ", ")); copy the "
                + "tokenizer folder of the model"
        case .invalidJSON(let file, let fault):
            "tokenizer: \(file): not valid JSON: \(fault); copy the file from the model again"
        case .invalidValue(let file, let key, let value, let expected):
            "tokenizer: \(file): \(key): expected \(expected), found \(value); copy the file from the model again"
        case .duplicateID(let file, let id, let tokens):
            "tokenizer: \(file): id \(id): expected one token, found \(Self.quoted(tokens)); copy the file from the "
                + "model again"
        case .invalidMerge(let file, let line, let text):
            "tokenizer: \(file): line \(line): expected two tokens and a space between them, found \"\(text)\"; "
                + "copy the file from the model again"
        case .unknownMergeToken(let file, let merge, let token):
            "tokenizer: \(file): merge \(merge): the token \"\(token)\" is not in the vocabulary; use the merges and "
                + "the vocabulary of one model"
        case .noMerges(let file):
            "tokenizer: \(file): expected merges, pairs of tokens, found none; copy the file from the model again"
        case .missingToken(let key, let token):
            "tokenizer: \(key) \"\(token)\": expected a token of the vocabulary, found none; copy the tokenizer folder "
                + "of the model again"
        case .addedTokenID(let token, let expected, let found):
            "tokenizer: added token \"\(token)\": expected id \(expected), the next one of the vocabulary, "
                + "found \(found); use the files of one model"
        case .unrepresentable(let piece, let unknownToken):
            "tokenizer: \"\(piece)\": not in the vocabulary, which has no unknown token \"\(unknownToken)\"; use "
                + "other words"
        case .resource(let name, let searched):
            "the tokenizer's file \(name) is not installed or damaged: expected one of "
                + "\(searched.joined(separator: ", ")); keep the executable next to its resource bundle"
        }
    }

    private static func quoted(_ tokens: [String]) -> String {
        tokens.map { "\"\($0)\"" }.joined(separator: " and ")
    }
}
