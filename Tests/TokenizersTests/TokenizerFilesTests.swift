// SPDX-License-Identifier: Apache-2.0
// Tokenizer folders that are incomplete, damaged or unusual.

import Files
import Testing

@testable import Tokenizers

@Suite struct TokenizerFilesTests {
    private let vocab =
        #"{"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab</w>": 4, "<|startoftext|>": 5, "<|endoftext|>": 6}"#
    private let merges = "#version: 0.2\na b</w>\n"

    private func files(_ changes: [String: String?] = [:]) -> TokenizerFiles {
        var texts: [String: String?] = ["vocab.json": vocab, "merges.txt": merges]
        texts.merge(changes) { $1 }
        return TokenizerFiles(texts.compactMapValues { $0 })
    }

    private func error(_ files: TokenizerFiles, length: Int = 77) -> TokenizerError? {
        do throws(TokenizerError) {
            _ = try CLIPTokenizer(files: files, maxPositionEmbeddings: length)
            return nil
        } catch {
            return error
        }
    }

    @Test("a small vocabulary is read, with Windows line breaks, byte order marks and empty lines too")
    func unusualText() throws {
        for files in [
            files(),
            files(["merges.txt": "\u{FEFF}#version: 0.2\r\n\r\na b</w>\r\n", "vocab.json": "\u{FEFF}" + vocab]),
            files(["merges.txt": "a b</w>"]),
        ] {
            let tokenizer = try CLIPTokenizer(files: files, maxPositionEmbeddings: 6)
            #expect(try tokenizer.encode("AB a b") == [5, 4, 2, 3, 6, 6])
            #expect(try tokenizer.tokenize("ab a b ab").truncatedText == "")
            #expect(
                try tokenizer.tokenize("ab a b ab b a")
                    == TokenizedText(ids: [5, 4, 2, 3, 4, 6], truncatedText: "b a"))
            #expect(tokenizer.vocabSize == 7 && tokenizer.padTokenId == 6)
        }
    }

    @Test("files of other names are left out")
    func otherNames() {
        #expect(TokenizerFiles(["vocab.json": "{}", "README.md": ""]).texts == ["vocab.json": "{}"])
    }

    @Test("the length is that of the config, or the encoder's where the config has none or an absurd one")
    func lengths() throws {
        func length(_ config: String?, _ encoder: Int) throws -> Int {
            try CLIPTokenizer(files: files(["tokenizer_config.json": config]), maxPositionEmbeddings: encoder)
                .modelMaxLength
        }
        #expect(try length(nil, 32) == 32)
        #expect(try length("{}", 77) == 77)
        #expect(try length(#"{"model_max_length": null}"#, 77) == 77)
        #expect(try length(#"{"model_max_length": 1000000000000000019884624838656}"#, 77) == 77)
        #expect(try length(#"{"model_max_length": 1e30}"#, 64) == 64)
        #expect(try length(#"{"model_max_length": Infinity}"#, 64) == 64)
        #expect(try length(#"{"model_max_length": 16}"#, 77) == 16)
        #expect(
            error(files(["tokenizer_config.json": #"{"model_max_length": 77}"#]), length: 64)
                == .length(name: "CLIPTokenizer", minimum: 77, found: 64))
        #expect(error(files(), length: 1) == .length(name: "CLIPTokenizer", minimum: 2, found: 1))
        for value in ["0", "-1", "true", "\"77\""] {
            #expect(
                error(files(["tokenizer_config.json": "{\"model_max_length\": \(value)}"]))
                    == .invalidValue(
                        file: "tokenizer_config.json", key: "model_max_length", value: value,
                        expected: "a number above 1"))
        }
    }

    @Test("missing files are named")
    func missing() {
        #expect(error(TokenizerFiles([:])) == .missingFile("vocab.json", found: []))
        #expect(error(files(["vocab.json": nil])) == .missingFile("vocab.json", found: ["merges.txt"]))
        #expect(error(files(["merges.txt": nil])) == .missingFile("merges.txt", found: ["vocab.json"]))
    }

    @Test("a vocabulary or merges that do not fit are errors with file and token")
    func damaged() {
        func fault(_ error: TokenizerError?) -> String? {
            if case .invalidJSON(let file, _)? = error { file } else { nil }
        }
        for name in ["vocab.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"] {
            #expect(fault(error(files([name: "not JSON"]))) == name)
            #expect(fault(error(files([name: "[]"]))) == name)
        }
        #expect(fault(error(files(["vocab.json": #"{"a": 0, "a": 1}"#]))) == "vocab.json")
        #expect(
            error(files(["vocab.json": #"{"a": 0, "b": 0}"#]))
                == .duplicateID(file: "vocab.json", id: 0, tokens: ["a", "b"]))
        for id in ["-1", "1.5", "\"1\"", "99999999"] {
            #expect(
                error(files(["vocab.json": "{\"a\": \(id)}"]))
                    == .invalidValue(file: "vocab.json", key: "\"a\"", value: id, expected: "an id below 1026"))
        }
        #expect(
            error(files(["merges.txt": "#version: 0.2\na b</w>\na b c\n"]))
                == .invalidMerge(file: "merges.txt", line: 3, text: "a b c"))
        #expect(
            error(files(["merges.txt": "a b</w>\na c\n"]))
                == .unknownMergeToken(file: "merges.txt", merge: 2, token: "c"))
        #expect(
            error(files(["merges.txt": "a b\n"])) == .unknownMergeToken(file: "merges.txt", merge: 1, token: "ab"))
    }

    @Test("a tokenizer without merges, or without its start or end token, is an error")
    func incomplete() throws {
        for text in ["", "#version: 0.2\n", "\n\n"] {
            #expect(error(files(["merges.txt": text])) == .noMerges(file: "merges.txt"))
        }
        #expect(
            error(TokenizerFiles(["tokenizer.json": "{\"model\": {\"vocab\": \(vocab), \"merges\": []}}"]))
                == .noMerges(file: "tokenizer.json"))
        let cut = vocab.replacing(#", "<|endoftext|>": 6"#, with: "")
        #expect(
            error(files(["vocab.json": cut])) == .missingToken(key: "eos_token", token: "<|endoftext|>"))
        #expect(
            error(files(["special_tokens_map.json": #"{"bos_token": "<s>"}"#]))
                == .missingToken(key: "bos_token", token: "<s>"))
        // Added tokens follow the vocabulary.
        let added = try CLIPTokenizer(
            files: files(["vocab.json": cut, "added_tokens.json": #"{"<|endoftext|>": 6}"#]))
        #expect(added.eosTokenId == 6)
    }

    @Test("a tokenizer.json with another model or damaged merges is an error")
    func tokenizerJSON() throws {
        func document(_ model: String) -> TokenizerFiles {
            TokenizerFiles(["tokenizer.json": "{\"model\": \(model)}"])
        }
        let tokenizer = try CLIPTokenizer(
            files: document("{\"vocab\": \(vocab), \"merges\": [\"a b</w>\"]}"), maxPositionEmbeddings: 4)
        #expect(try tokenizer.encode("ab") == [5, 4, 6, 6])
        func invalid(_ key: String, _ value: String, _ expected: String) -> TokenizerError {
            .invalidValue(file: "tokenizer.json", key: key, value: value, expected: expected)
        }
        #expect(error(document("{}")) == invalid("model.vocab", "none", "an object"))
        #expect(error(document("{\"vocab\": {}}")) == invalid("model.merges", "none", "a list"))
        #expect(
            error(document("{\"type\": \"Unigram\", \"vocab\": []}"))
                == invalid("model.type", "\"Unigram\"", "\"BPE\""))
        #expect(
            error(document("{\"vocab\": \(vocab), \"merges\": [[\"a\"]]}"))
                == invalid("model.merges", "[\"a\"]", "two tokens"))
    }

    @Test("special tokens that cannot be used are errors")
    func specialTokens() {
        #expect(
            error(files(["special_tokens_map.json": #"{"pad_token": 5}"#]))
                == .invalidValue(file: "special_tokens_map.json", key: "pad_token", value: "5", expected: "a token"))
        #expect(
            error(files(["added_tokens.json": #"{"<new>": 9}"#]))
                == .addedTokenID(token: "<new>", expected: 7, found: 9))
        #expect(
            error(files(["tokenizer_config.json": #"{"padding_side": "left"}"#]))
                == .invalidValue(
                    file: "tokenizer_config.json", key: "padding_side", value: "\"left\"", expected: "\"right\""))
    }

    @Test("text that the vocabulary cannot represent is an error where there is no unknown token")
    func unrepresentable() throws {
        let tokenizer = try CLIPTokenizer(
            files: files(["special_tokens_map.json": #"{"unk_token": "<unk>"}"#]))
        // `<unk>` gets an id, but is no token of the model.
        #expect(tokenizer.vocabSize == 8)
        #expect(throws: TokenizerError.unrepresentable(piece: "cab", unknownToken: "<unk>")) {
            try tokenizer.encode("a cab")
        }
    }

    @Test("each error is one line that names the file")
    func descriptions() {
        let errors: [TokenizerError] = [
            .missingFile("vocab.json", found: []), .invalidJSON(file: "vocab.json", fault: .notUTF8),
            .invalidValue(file: "vocab.json", key: "a", value: "1", expected: "2"),
            .duplicateID(file: "vocab.json", id: 0, tokens: ["a", "b"]), .noMerges(file: "vocab.json"),
        ]
        for error in errors {
            #expect(error.description.contains("vocab.json") && !error.description.contains("\n"))
            #expect(error.category == .badData)
        }
        #expect(TokenizerError.resource(name: "x", searched: []).category == .inputMissing)
    }
}
