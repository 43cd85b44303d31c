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

    /// The ids of `text`, `[T]`, padded. The empty prompt is valid.
    ///
    /// - Throws: the tokenizer's error for text that it cannot represent.
    func encode(_ text: String) throws -> [Int32]
}

/// The tokenizers that models can be opened with. A program registers its tokenizers when it starts.
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

/// Why a tokenizer cannot be used.
public enum TokenizerError: CategorizedError, Equatable {
    /// No tokenizer of this name is registered.
    case unknown(name: String, known: [String])
    /// The tokenizer does not support sequences of this length.
    case length(name: String, minimum: Int, found: Int)
    /// The number of rows of the text encoder's token embedding differs from the tokenizer's number of ids.
    case vocabulary(name: String, expected: Int, found: Int)

    public var category: ErrorCategory { .badData }

    public var description: String {
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
        }
    }
}
