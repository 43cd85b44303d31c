// SPDX-License-Identifier: Apache-2.0
// The interface of tokenizers, and the registry that finds them by the name that a model file records. T tokens.

import Files
import Synchronization

/// Converts text to token ids of fixed length, as transformers' `CLIPTokenizer` with `padding="max_length"`.
public protocol Tokenizer: Sendable {
    /// The name that model files record.
    var name: String { get }
    /// T, the number of ids of every sequence, padding included.
    var modelMaxLength: Int { get }
    /// The number of token ids, equal to the number of rows of the text encoder's token embedding.
    var vocabSize: Int { get }
    /// The files that the tokenizer was made from, for model files and exports; nil for a tokenizer that is known by
    /// name only.
    var files: TokenizerFiles? { get }

    /// The ids of `text`, `[T]`, padded. The empty prompt is valid.
    ///
    /// - Throws: the tokenizer's error for text that it cannot represent.
    func encode(_ text: String) throws -> [Int32]

    /// The ids of `text`, and the text of the tokens beyond T.
    ///
    /// - Throws: as `encode`.
    func tokenize(_ text: String) throws -> TokenizedText
}

extension Tokenizer {
    public var files: TokenizerFiles? { nil }

    /// For tokenizers whose `encode` throws if the text is too long.
    public func tokenize(_ text: String) throws -> TokenizedText {
        TokenizedText(ids: try encode(text), truncatedText: "")
    }
}

/// A text as token ids of fixed length.
public struct TokenizedText: Equatable, Sendable {
    /// `[T]`, padded.
    public let ids: [Int32]
    /// The text of the tokens that were cut off because the sequence would be longer than T; empty if all fit.
    public let truncatedText: String

    public init(ids: [Int32], truncatedText: String) {
        self.ids = ids
        self.truncatedText = truncatedText
    }
}

/// The tokenizers that models can be opened with by name. A program registers its tokenizers when it starts. Tokenizers
/// that are made from files of the model, such as `CLIPTokenizer`, are not registered.
public enum TokenizerRegistry {
    /// Creates a tokenizer for sequences of `modelMaxLength` ids.
    public typealias Factory = @Sendable (_ modelMaxLength: Int) throws -> any Tokenizer

    private static let factories = Mutex<[String: Factory]>([:])

    /// Registers a tokenizer by name. A second registration replaces the first.
    public static func register(_ name: String, _ factory: @escaping Factory) {
        factories.withLock { $0[name] = factory }
    }

    /// Whether a tokenizer of this name is registered.
    public static func isRegistered(_ name: String) -> Bool { factories.withLock { $0[name] != nil } }

    /// The tokenizer `name` for sequences of `modelMaxLength` ids.
    ///
    /// - Throws: `TokenizerError.unknown`; the factory's error for a length that it does not support.
    public static func tokenizer(_ name: String, modelMaxLength: Int) throws -> any Tokenizer {
        let (factory, known) = factories.withLock { ($0[name], $0.keys.sorted()) }
        guard let factory else { throw TokenizerError.unknown(name: name, known: known) }
        return try factory(modelMaxLength)
    }
}
