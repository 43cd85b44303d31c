// SPDX-License-Identifier: Apache-2.0
// Damaged tokenizer files give errors or a tokenizer whose ids are within its vocabulary, never a crash; `make fuzz`
// runs this test with sanitizers.

import Files
import TestKit
import Testing

@testable import Tokenizers

@Suite struct TokenizerFuzzTests {
    private static let vocab =
        #"{"a": 0, "b": 1, "!": 2, "a</w>": 3, "b</w>": 4, "!</w>": 5, "ab": 6, "ab</w>": 7, "#
        + #""<|startoftext|>": 8, "<|endoftext|>": 9}"#
    private static let merges = "#version: 0.2\na b\na b</w>\n"
    private static let config =
        #"{"model_max_length": 8, "pad_token": "!", "do_lower_case": true, "bos_token": {"__type": "AddedToken", "#
        + #""content": "<|startoftext|>", "lstrip": false, "normalized": true, "rstrip": false, "#
        + #""single_word": false}, "#
        + #""added_tokens_decoder": {"8": {"content": "<|startoftext|>", "special": true}, "#
        + #""10": {"content": "new", "single_word": true}}, "extra_special_tokens": ["<x>"]}"#
    private static let special =
        #"{"pad_token": "!", "eos_token": {"content": "<|endoftext|>", "normalized": true}, "#
        + #""additional_special_tokens": ["<y>"]}"#
    private static let document =
        #"{"added_tokens": [{"id": 8, "content": "<|startoftext|>", "special": true}, {"id": 10, "content": "z", "#
        + #""single_word": true, "normalized": true}], "model": {"type": "BPE", "vocab": "# + vocab
        + #", "merges": [["a", "b"], "a b</w>"]}}"#

    private static let folders: [[String: String]] = [
        ["vocab.json": vocab, "merges.txt": merges],
        [
            "vocab.json": vocab, "merges.txt": merges, "special_tokens_map.json": special,
            "added_tokens.json": "{\"z\": 10}",
        ],
        ["vocab.json": vocab, "merges.txt": merges, "tokenizer_config.json": config],
        ["tokenizer.json": document, "tokenizer_config.json": "{\"model_max_length\": 8}"],
    ]

    private static let prompts = ["", "ab a b!", "<|startoftext|> ab new<y>z zz", "aab 🐱 é\u{0}", "abababababababab"]

    @Test("damaged tokenizer files give errors, or ids of the announced length and range", arguments: folders)
    func files(sound: [String: String]) throws {
        let names = sound.keys.sorted()
        let refused = fuzz(1000, seed: 21, share: 1 / 4, errors: [TokenizerError.self]) { mutator in
            var texts = sound
            let name = mutator.element(names)
            // Files are read as UTF-8 before they come here.
            texts[name] = String(decoding: mutator.text(sound[name] ?? ""), as: UTF8.self)
            let tokenizer = try CLIPTokenizer(files: TokenizerFiles(texts), maxPositionEmbeddings: 16)
            for prompt in Self.prompts {
                let ids = try tokenizer.encode(prompt)
                #expect(ids.count == tokenizer.modelMaxLength)
                #expect(ids.allSatisfy { (0..<tokenizer.vocabSize).contains(Int($0)) })
                _ = try tokenizer.tokenize(prompt)
                _ = tokenizer.decode(ids + [-1, .max, .min])
            }
        }
        #expect(refused > 0.1 && refused < 1)
    }
}
