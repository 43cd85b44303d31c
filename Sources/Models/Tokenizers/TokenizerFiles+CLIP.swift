// SPDX-License-Identifier: Apache-2.0
// OpenAI's CLIP vocabulary, which all Stable Diffusion models use, for checkpoints that come without tokenizer files.
// The resource clip-merges.bin (scripts/make_clip_vocabulary.py) has the merges as pairs of 16-bit ids.

import Files
import Foundation

extension TokenizerFiles {
    private static let resource = "clip-merges.bin", mergeCount = 48_894
    private static let start = "<|startoftext|>", end = "<|endoftext|>"

    /// The tokenizer folder of a Stable Diffusion model: 49408 tokens, sequences of 77.
    ///
    /// - Parameter padToken: `<|endoftext|>` for Stable Diffusion 1 and the first tokenizer of XL, `!` for Stable
    ///   Diffusion 2 and the second tokenizer of XL.
    /// - Returns: the four files of such a folder.
    /// - Throws: `TokenizerError.resource` if the program was moved without its resources.
    public static func clip(padToken: String = "<|endoftext|>") throws(TokenizerError) -> TokenizerFiles {
        let (tokens, merges) = try clipVocabulary()
        var vocab = "{"
        for (id, token) in (tokens + [start, end]).enumerated() {
            vocab += (id == 0 ? "" : ", ") + "\(quoted(token)): \(id)"
        }
        // As Stable Diffusion's repositories have them. `normalized` matches these tokens in upper case too.
        let object = { (token: String) in
            "{\"content\": \(quoted(token)), \"lstrip\": false, \"normalized\": true, \"rstrip\": false, "
                + "\"single_word\": false}"
        }
        return TokenizerFiles([
            "vocab.json": vocab + "}\n",
            "merges.txt": "#version: 0.2\n" + merges.joined(separator: "\n") + "\n",
            "special_tokens_map.json": "{\"bos_token\": \(object(start)), \"eos_token\": \(object(end)), "
                + "\"pad_token\": \(quoted(padToken)), \"unk_token\": \(object(end))}\n",
            "tokenizer_config.json": "{\"do_lower_case\": true, \"model_max_length\": 77, "
                + "\"tokenizer_class\": \"CLIPTokenizer\"}\n",
        ])
    }

    /// The tokens without the two special ones, and the lines of merges.txt.
    private static func clipVocabulary() throws(TokenizerError) -> (tokens: [String], merges: [String]) {
        let searched = ResourceFolders.candidates(resource, target: "Tokenizers")
        guard let path = ResourceFolders.path(of: resource, target: "Tokenizers"),
            let data = FileManager.default.contents(atPath: path), data.count == 4 * mergeCount
        else { throw .resource(name: resource, searched: searched) }
        let values = [UInt8](data)
        let characters = ByteCharacters.bytesByID.map { String(ByteCharacters.characters[Int($0)]) }
        var tokens = characters + characters.map { $0 + BytePairVocabulary.endOfWord }
        tokens.reserveCapacity(512 + mergeCount)
        var merges: [String] = []
        merges.reserveCapacity(mergeCount)
        for offset in stride(from: 0, to: values.count, by: 4) {
            let left = Int(values[offset]) | Int(values[offset + 1]) << 8
            let right = Int(values[offset + 2]) | Int(values[offset + 3]) << 8
            guard max(left, right) < tokens.count else { throw .resource(name: resource, searched: searched) }
            merges.append(tokens[left] + " " + tokens[right])
            tokens.append(tokens[left] + tokens[right])
        }
        return (tokens, merges)
    }

    /// A token as a JSON string. Tokens have no control characters.
    private static func quoted(_ token: String) -> String {
        let isPlain = !token.utf8.contains { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }
        return isPlain
            ? "\"\(token)\"" : "\"" + token.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
    }
}
