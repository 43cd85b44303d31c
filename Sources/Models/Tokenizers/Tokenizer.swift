// SPDX-License-Identifier: Apache-2.0
// The interface between prompts and text encoders. A model file records the tokenizer's name; nothing is inferred from
// the size of a vocabulary.

/// Converts text to token ids of fixed length, as transformers' `CLIPTokenizer` does with `padding="max_length"`.
public protocol Tokenizer: Sendable {
    /// The name that model files record, such as "shapes-words".
    var name: String { get }
    /// T, the number of ids of every sequence, padding included.
    var modelMaxLength: Int { get }
    /// The number of different ids; a text encoder's embedding table has as many rows.
    var vocabSize: Int { get }

    /// The ids of `text`, `[T]`, padded. The empty prompt is valid.
    ///
    /// - Throws: the tokenizer's own error for text that it cannot represent.
    func encode(_ text: String) throws -> [Int32]
}
