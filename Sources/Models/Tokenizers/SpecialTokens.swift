// SPDX-License-Identifier: Apache-2.0
// The special and added tokens of a CLIP tokenizer, as transformers 5 collects them from a folder:
// - tokenizer_config.json with `added_tokens_decoder`: its tokens and its `*_token` keys count;
// - otherwise special_tokens_map.json overrides the `*_token` keys of tokenizer_config.json, and added_tokens.json and
//   tokenizer.json list further tokens. Stable Diffusion 2 depends on it: its map says `!`, its config not.

import Files

/// What the files say about special tokens and the length of sequences.
struct SpecialTokens {
    /// The tokens by transformers' names, such as `pad_token`.
    private var named: [String: AddedToken]
    /// All tokens that are matched as a whole, in the order in which they get ids.
    private(set) var added: [AddedToken] = []
    /// The length of a sequence; nil where no file gives a usable one (transformers writes 1e30 for "unknown").
    private(set) var modelMaxLength: Int?

    var bos: String { content("bos_token") }
    var eos: String { content("eos_token") }
    var pad: String { content("pad_token") }
    var unknown: String { content("unk_token") }

    private static let configFile = "tokenizer_config.json", mapFile = "special_tokens_map.json"
    private static let addedFile = "added_tokens.json", tokenizerFile = "tokenizer.json"
    private static let order = [
        "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
    ]
    private static let defaults = [
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    ]
    /// No text encoder has more positions.
    private static let longest = 1_000_000.0

    /// - Parameters:
    ///   - files: the folder.
    ///   - document: its tokenizer.json, parsed; nil where there is none.
    /// - Throws: `TokenizerError.invalidJSON`, `.invalidValue`.
    init(files: TokenizerFiles, tokenizerJSON document: JSONValue?) throws(TokenizerError) {
        let config = try files.object(Self.configFile)
        named = Self.defaults.mapValues { AddedToken(content: $0) }
        try read(config, file: Self.configFile)
        var listed: [Int: AddedToken] = [:]
        var extra = try Self.extraTokens(config, file: Self.configFile)
        if let decoder = config?["added_tokens_decoder"] {
            for member in decoder.members ?? [] {
                guard let id = Int(member.key) else {
                    throw .invalidValue(
                        file: Self.configFile, key: "added_tokens_decoder", value: "\"\(member.key)\"", expected: "ids")
                }
                listed[id] = try Self.token(member.value, file: Self.configFile, key: "added_tokens_decoder", id: id)
            }
        } else {
            let map = try files.object(Self.mapFile)
            try read(map, file: Self.mapFile)
            extra += try Self.extraTokens(map, file: Self.mapFile)
            for member in try files.object(Self.addedFile)?.members ?? [] {
                guard let id = member.value.count else {
                    throw .invalidValue(
                        file: Self.addedFile, key: "\"\(member.key)\"", value: "\(member.value)", expected: "an id")
                }
                let isSpecial = (Array(named.values) + extra).contains { $0.content == member.key }
                listed[id] = AddedToken(content: member.key, isNormalized: !isSpecial, id: id)
            }
            for value in document?["added_tokens"]?.elements ?? [] {
                guard let id = value["id"]?.count else {
                    throw .invalidValue(
                        file: Self.tokenizerFile, key: "added_tokens", value: "\(value)", expected: "an id")
                }
                listed[id] = try Self.token(value, file: Self.tokenizerFile, key: "added_tokens", id: id)
            }
        }
        for (_, token) in listed.sorted(by: { $0.key < $1.key }) { add(token) }
        let known = Set(added.map(\.content))
        for token in Self.order.compactMap({ named[$0] }) + extra where !known.contains(token.content) { add(token) }
        try readLength(config)
    }

    /// Adds a token. Of two with the same text the later one decides how it is matched.
    private mutating func add(_ token: AddedToken) {
        if let index = added.firstIndex(where: { $0.content == token.content }) {
            added[index] = token
        } else {
            added.append(token)
        }
    }

    private func content(_ key: String) -> String { named[key]?.content ?? "" }

    private mutating func read(_ document: JSONValue?, file: String) throws(TokenizerError) {
        for key in Self.order {
            guard let value = document?[key], value != .null else { continue }
            named[key] = try Self.token(value, file: file, key: key)
        }
    }

    private mutating func readLength(_ config: JSONValue?) throws(TokenizerError) {
        for side in ["padding_side", "truncation_side"] {
            if let value = config?[side], value.text != "right" {
                throw .invalidValue(file: Self.configFile, key: side, value: "\(value)", expected: "\"right\"")
            }
        }
        guard let value = config?["model_max_length"] ?? config?["max_len"], value != .null else { return }
        guard let length = value.double, length >= 2 else {
            throw .invalidValue(
                file: Self.configFile, key: "model_max_length", value: "\(value)", expected: "a number above 1")
        }
        if length < Self.longest { modelMaxLength = Int(length) }
    }

    /// Tokens without a name, of `extra_special_tokens` or the older `additional_special_tokens`.
    private static func extraTokens(_ document: JSONValue?, file: String) throws(TokenizerError) -> [AddedToken] {
        var tokens: [AddedToken] = []
        for key in ["additional_special_tokens", "extra_special_tokens"] {
            for value in document?[key]?.elements ?? [] { tokens.append(try token(value, file: file, key: key)) }
        }
        return tokens
    }

    /// A token as text or as an object with `content` and flags. Blanks that `lstrip` and `rstrip` would take belong to
    /// no word, so that these flags change nothing here.
    private static func token(
        _ value: JSONValue, file: String, key: String, id: Int? = nil
    ) throws(TokenizerError) -> AddedToken {
        func flag(_ name: String) -> Bool? { if case .bool(let flag)? = value[name] { flag } else { nil } }
        if let text = value.text { return AddedToken(content: text, id: id) }
        guard let content = value["content"]?.text else {
            throw .invalidValue(file: file, key: key, value: "\(value)", expected: "a token")
        }
        let isListed = id != nil
        return AddedToken(
            content: content, isNormalized: flag("normalized") ?? (isListed && flag("special") != true),
            isSingleWord: flag("single_word") ?? false, id: id)
    }
}
