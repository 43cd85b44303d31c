// SPDX-License-Identifier: Apache-2.0
// Token ids against transformers' CLIPTokenizer. The ids come from Tests/Fixtures/make_tokenizer_fixtures.py.

import Files
import Foundation
import TestKit
import Testing

@testable import Tokenizers

/// What transformers computed.
struct TokenizerFixture: Decodable {
    struct Explicit: Decodable {
        struct Expected: Decodable { let ids: [Int32], truncated, decoded: String }
        let text: String
        let sd1, sd2: Expected
    }
    struct Folder: Decodable {
        let name: String
        let files: [String: String]
        let addedTokens: String?
        let padding: Int32
        let ids: [[Int32]]
    }
    struct Tiny: Decodable {
        struct Text: Decodable { let text: String, ids: [Int32] }
        let vocab, merges: String
        let texts: [Text]
    }

    let atoms: TextAtoms
    let textDigests, sd1Digests, sd2Digests: [UInt32]
    let explicit: [Explicit]
    let probes: [String]
    let folders: [Folder]
    let tiny: Tiny

    static func load() throws -> TokenizerFixture { try fixture("clip-tokenizer", in: .module) }
}

@Suite(.tags(.golden)) struct CLIPTokenizerTests {
    @Test("10,000 texts have transformers' ids, truncated text and decoded text", arguments: ["<|endoftext|>", "!"])
    func generatedTexts(padToken: String) throws {
        let fixture = try TokenizerFixture.load()
        let tokenizer = try CLIPTokenizer(files: .clip(padToken: padToken))
        let digests = padToken == "!" ? fixture.sd2Digests : fixture.sd1Digests
        #expect(digests.count == 100)
        for (block, digest) in digests.enumerated() {
            let texts = (100 * block..<100 * block + 100).map(fixture.atoms.text)
            let joined = Array(texts.joined(separator: "\n").utf8)
            try #require(CRC32.checksum(of: joined) == fixture.textDigests[block], "block \(block): other texts")
            var found: UInt32 = 0
            for text in texts {
                let result = try tokenizer.tokenize(text)
                let whole = try [tokenizer.bosTokenId] + tokenizer.textIDs(text) + [tokenizer.eosTokenId]
                let ids = result.ids.flatMap { id in (0..<4).map { UInt8(truncatingIfNeeded: id >> (8 * $0)) } }
                let content = ids + result.truncatedText.utf8 + [0] + tokenizer.decode(whole).utf8
                found = CRC32.checksum(of: content, after: found)
            }
            #expect(found == digest, "texts \(100 * block)..<\(100 * block + 100)")
        }
    }

    @Test("explicit texts have transformers' ids, truncated text and decoded text")
    func explicitTexts() throws {
        let fixture = try TokenizerFixture.load()
        let first = try CLIPTokenizer(files: .clip()), second = try CLIPTokenizer(files: .clip(padToken: "!"))
        #expect(fixture.explicit.count > 100)
        for text in fixture.explicit {
            for (tokenizer, expected) in [(first, text.sd1), (second, text.sd2)] {
                let result = try tokenizer.tokenize(text.text)
                let padding = Array(repeating: tokenizer.padTokenId, count: 77 - expected.ids.count)
                #expect(result.ids == expected.ids + padding, "\(text.text.debugDescription)")
                #expect(try tokenizer.encode(text.text) == result.ids)
                #expect(result.truncatedText == expected.truncated)
                let whole = try [tokenizer.bosTokenId] + tokenizer.textIDs(text.text) + [tokenizer.eosTokenId]
                #expect(tokenizer.decode(whole) == expected.decoded)
            }
        }
    }

    @Test("special tokens are collected from each form of folder as transformers does it")
    func folders() throws {
        let fixture = try TokenizerFixture.load()
        let clip = try TokenizerFiles.clip()
        for folder in fixture.folders {
            var texts = folder.files
            if let addedTokens = folder.addedTokens {
                texts["tokenizer.json"] = tokenizerJSON(clip, addedTokens: addedTokens)
            } else {
                texts["vocab.json"] = clip["vocab.json"]
                texts["merges.txt"] = clip["merges.txt"]
            }
            let tokenizer = try CLIPTokenizer(files: TokenizerFiles(texts))
            #expect(tokenizer.padTokenId == folder.padding, "\(folder.name)")
            #expect(tokenizer.modelMaxLength == 77)
            for (probe, ids) in zip(fixture.probes, folder.ids) {
                #expect(
                    try [49406] + tokenizer.textIDs(probe) + [49407] == ids, "\(folder.name): \(probe)")
            }
            #expect(tokenizer.files == TokenizerFiles(texts))
        }
    }

    /// tokenizer.json as transformers >= 5 saves it, with merges as pairs.
    private func tokenizerJSON(_ files: TokenizerFiles, addedTokens: String) -> String {
        func quoted(_ token: Substring) -> String {
            "\"" + token.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
        }
        let merges = (files["merges.txt"] ?? "").split(separator: "\n").dropFirst().map { line in
            "[" + line.split(separator: " ").map(quoted).joined(separator: ",") + "]"
        }
        return "{\"added_tokens\":\(addedTokens),\"model\":{\"type\":\"BPE\",\"vocab\":\(files["vocab.json"] ?? ""),"
            + "\"merges\":[\(merges.joined(separator: ","))]}}"
    }

    @Test("a vocabulary without all bytes uses its unknown token")
    func unknownToken() throws {
        let tiny = try TokenizerFixture.load().tiny
        let tokenizer = try CLIPTokenizer(
            files: TokenizerFiles([
                "vocab.json": tiny.vocab, "merges.txt": tiny.merges,
                "special_tokens_map.json": "{\"unk_token\": \"<unk>\"}",
            ]))
        for text in tiny.texts {
            let ids = try [tokenizer.bosTokenId] + tokenizer.textIDs(text.text) + [tokenizer.eosTokenId]
            #expect(ids == text.ids, "\(text.text)")
        }
    }

    @Test("the built-in vocabulary has 49,408 tokens in CLIP's order")
    func builtInVocabulary() throws {
        let tokenizer = try CLIPTokenizer(files: .clip())
        #expect(tokenizer.vocabSize == 49408 && tokenizer.name == "CLIPTokenizer")
        #expect(tokenizer.bosTokenId == 49406 && tokenizer.eosTokenId == 49407 && tokenizer.padTokenId == 49407)
        #expect(
            tokenizer.decode([0, 256, 512, 49405, 49406, 49407, 49408, -1])
                == "!! injekyll <|startoftext|><|endoftext|>")
        #expect(try CLIPTokenizer(files: .clip(padToken: "!")).padTokenId == 0)
    }

    @Test("a word of 20,000 letters takes linear time")
    func longWord() throws {
        let tokenizer = try CLIPTokenizer(files: .clip())
        let text = String(repeating: "ab", count: 10_000)
        let result = try tokenizer.tokenize(text)
        #expect(result.ids.count == 77 && result.ids.last == tokenizer.eosTokenId)
        #expect(try tokenizer.decode(tokenizer.textIDs(text)) == text)
    }
}
