// SPDX-License-Identifier: Apache-2.0
// Tokenizers by the name that model files record. A program registers the ones it knows at its start.

import Files
import Synchronization

/// The tokenizers that models can be opened with.
public enum TokenizerRegistry {
    /// Makes a tokenizer for sequences of `modelMaxLength` ids.
    public typealias Factory = @Sendable (_ modelMaxLength: Int) throws -> any Tokenizer

    private static let factories = Mutex<[String: Factory]>([:])

    /// Makes `name` available; a second registration replaces the first.
    public static func register(_ name: String, _ factory: @escaping Factory) {
        factories.withLock { $0[name] = factory }
    }

    /// Whether a tokenizer of this name is registered.
    public static func isRegistered(_ name: String) -> Bool { factories.withLock { $0[name] != nil } }

    /// The tokenizer `name` for sequences of `modelMaxLength` ids.
    ///
    /// - Throws: `TokenizerError.unknown`, and what the factory throws for a length that it does not support.
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
    /// The text encoder's embedding table has another number of rows than the tokenizer has ids.
    case vocabulary(name: String, expected: Int, found: Int)

    public var category: ErrorCategory { .badData }

    public var description: String {
        switch self {
        case .unknown(let name, let known):
            "tokenizer \"\(name)\" is unknown; known: \(known.joined(separator: ", ")); pass --embeddings instead of "
                + "prompts"
        case .length(let name, let minimum, let found):
            "tokenizer \"\(name)\": sequences of \(found) tokens are too short; expected at least \(minimum); check the "
                + "text encoder's max_position_embeddings"
        case .vocabulary(let name, let expected, let found):
            "text encoder: vocab_size is \(found), but tokenizer \"\(name)\" has \(expected) ids; they belong to "
                + "different models"
        }
    }
}
