// SPDX-License-Identifier: Apache-2.0
// A byte-level BPE vocabulary whose words end with `</w>`: tokens, ids, and merges by pairs of ids. Reads vocab.json
// and merges.txt, or the model of tokenizer.json, as the `tokenizers` library does.

import Files

/// Tokens and merges.
struct BytePairVocabulary: Sendable {
    struct Merge {
        /// Smaller ranks are merged first.
        let rank: UInt32
        /// The id of the merged token.
        let id: Int32
    }

    /// The suffix of tokens at the end of a word.
    static let endOfWord = "</w>"

    private(set) var ids: [String: Int32]
    /// The tokens by id; nil for ids that no token has.
    private(set) var tokens: [String?]
    private let merges: [UInt64: Merge]
    /// The ids of single bytes, inside and at the end of a word; nil for bytes without a token.
    let byteIDs, finalByteIDs: [Int32?]

    /// The vocabulary of a tokenizer folder. tokenizer.json is read where it exists, as transformers does.
    ///
    /// - Parameters:
    ///   - files: the folder.
    ///   - document: its tokenizer.json, parsed; nil where there is none.
    /// - Throws: `TokenizerError` for missing and damaged files.
    init(files: TokenizerFiles, tokenizerJSON document: JSONValue?) throws(TokenizerError) {
        if let document {
            try self.init(tokenizerJSON: document)
            return
        }
        guard let vocab = try files.object("vocab.json") else {
            throw .missingFile("vocab.json", found: files.texts.keys.sorted())
        }
        guard let merges = files["merges.txt"] else {
            throw .missingFile("merges.txt", found: files.texts.keys.sorted())
        }
        try self.init(
            vocab: vocab.members ?? [], merges: Self.pairs(merges), vocabFile: "vocab.json", mergesFile: "merges.txt")
    }

    private init(tokenizerJSON document: JSONValue) throws(TokenizerError) {
        let file = "tokenizer.json"
        let model = document["model"]
        if let type = model?["type"], type.text != "BPE" {
            throw .invalidValue(file: file, key: "model.type", value: "\(type)", expected: "\"BPE\"")
        }
        guard let vocab = model?["vocab"]?.members else {
            throw .invalidValue(file: file, key: "model.vocab", value: "none", expected: "an object")
        }
        guard let list = model?["merges"]?.elements else {
            throw .invalidValue(file: file, key: "model.merges", value: "none", expected: "a list")
        }
        var pairs: [(String, String)] = []
        pairs.reserveCapacity(list.count)
        for element in list {
            // Two tokens, or, in older files, one text with a space between them.
            let parts =
                element.text.map { $0.split(separator: " ", omittingEmptySubsequences: false).map(String.init) }
                ?? element.elements?.compactMap(\.text) ?? []
            guard parts.count == 2 else {
                throw .invalidValue(file: file, key: "model.merges", value: "\(element)", expected: "two tokens")
            }
            pairs.append((parts[0], parts[1]))
        }
        try self.init(vocab: vocab, merges: pairs, vocabFile: file, mergesFile: file)
    }

    private init(
        vocab: [JSONValue.Member], merges pairs: [(String, String)], vocabFile: String, mergesFile: String
    ) throws(TokenizerError) {
        // Ids without gaps are below the count; the limit keeps a damaged id from allocating all memory.
        let limit = 2 * vocab.count + 1024
        var ids: [String: Int32] = [:], tokens = [String?](repeating: nil, count: vocab.count)
        ids.reserveCapacity(vocab.count)
        for member in vocab {
            guard let id = member.value.count, id < limit else {
                throw .invalidValue(
                    file: vocabFile, key: "\"\(member.key)\"", value: "\(member.value)",
                    expected: "an id below \(limit)")
            }
            if id >= tokens.count { tokens += Array(repeating: nil, count: id + 1 - tokens.count) }
            if let other = tokens[id] { throw .duplicateID(file: vocabFile, id: id, tokens: [other, member.key]) }
            tokens[id] = member.key
            ids[member.key] = Int32(id)
        }
        guard !pairs.isEmpty else { throw .noMerges(file: mergesFile) }
        var merges: [UInt64: Merge] = [:]
        merges.reserveCapacity(pairs.count)
        for (rank, pair) in pairs.enumerated() {
            func id(_ token: String) throws(TokenizerError) -> Int32 {
                guard let id = ids[token] else {
                    throw .unknownMergeToken(file: mergesFile, merge: rank + 1, token: token)
                }
                return id
            }
            let key = try Self.key(id(pair.0), id(pair.1))
            merges[key] = Merge(rank: UInt32(rank), id: try id(pair.0 + pair.1))
        }
        self.ids = ids
        self.tokens = tokens
        self.merges = merges
        byteIDs = ByteCharacters.characters.map { ids[String($0)] }
        finalByteIDs = ByteCharacters.characters.map { ids[String($0) + Self.endOfWord] }
    }

    /// The pairs of merges.txt. The version line and empty lines are skipped.
    private static func pairs(_ text: String) throws(TokenizerError) -> [(String, String)] {
        var text = text
        let result = text.withUTF8 { bytes in Result { () throws(TokenizerError) in try pairs(bytes) } }
        return try result.get()
    }

    private static func pairs(_ bytes: UnsafeBufferPointer<UInt8>) throws(TokenizerError) -> [(String, String)] {
        let lineFeed = UInt8(ascii: "\n"), carriageReturn = UInt8(ascii: "\r"), space = UInt8(ascii: " ")
        var pairs: [(String, String)] = []
        pairs.reserveCapacity(bytes.count / 10)
        var start = 0, number = 0
        while start < bytes.count {
            let next = bytes[start...].firstIndex(of: lineFeed) ?? bytes.count
            var line = bytes[start..<next]
            start = next + 1
            number += 1
            if line.last == carriageReturn { line.removeLast() }
            if line.isEmpty || line.starts(with: "#version".utf8) { continue }
            guard let middle = line.firstIndex(of: space), !line[(middle + 1)...].contains(space) else {
                throw .invalidMerge(file: "merges.txt", line: number, text: String(decoding: line, as: UTF8.self))
            }
            pairs.append(
                (
                    String(decoding: line[..<middle], as: UTF8.self),
                    String(decoding: line[(middle + 1)...], as: UTF8.self)
                ))
        }
        return pairs
    }

    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    /// The merge of two neighboring tokens, nil if they stay apart.
    func merge(_ left: Int32, _ right: Int32) -> Merge? { merges[Self.key(left, right)] }

    /// The token of an id, nil for an id that no token has.
    func token(_ id: Int32) -> String? {
        tokens.indices.contains(Int(id)) ? tokens[Int(id)] : nil
    }

    /// The id of an added token, which gets the next free id if the vocabulary does not have it.
    mutating func add(_ token: String) -> Int32 {
        if let id = ids[token] { return id }
        let id = Int32(tokens.count)
        ids[token] = id
        tokens.append(token)
        return id
    }
}
