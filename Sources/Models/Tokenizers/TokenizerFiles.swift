// SPDX-License-Identifier: Apache-2.0
// The files of a tokenizer folder as texts, as a diffusers pipeline has them below tokenizer/ and tokenizer_2/.

import Files

/// File name -> text of a tokenizer folder.
public struct TokenizerFiles: Equatable, Sendable {
    /// The files that `CLIPTokenizer` reads. transformers >= 5 saves tokenizer.json and tokenizer_config.json only.
    public static let names = [
        "vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json", "added_tokens.json",
        "tokenizer.json",
    ]

    /// The texts by file name. Names other than `names` are left out.
    public let texts: [String: String]

    /// The files among `texts` that belong to a tokenizer.
    public init(_ texts: [String: String]) {
        self.texts = texts.filter { Self.names.contains($0.key) }
    }

    /// The text of a file, without a byte order mark; nil for a file that is not there.
    public subscript(_ name: String) -> String? {
        guard let text = texts[name] else { return nil }
        let scalars = text.unicodeScalars
        return scalars.first == "\u{FEFF}" ? String(scalars.dropFirst()) : text
    }

    /// A JSON file that must be an object; nil for a file that is not there.
    func object(_ name: String) throws(TokenizerError) -> JSONValue? {
        guard let text = self[name] else { return nil }
        do throws(JSONFault) {
            let value = try JSONValue(Array(text.utf8), allowsNonFinite: true)
            guard value.members != nil else { throw .syntax(offset: 0, expected: "an object") }
            return value
        } catch {
            throw .invalidJSON(file: name, fault: error)
        }
    }
}
