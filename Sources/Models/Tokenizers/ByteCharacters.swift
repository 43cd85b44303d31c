// SPDX-License-Identifier: Apache-2.0
// The characters that stand for bytes in the tokens of byte-level vocabularies, as in GPT-2: printable characters of
// Latin-1 stand for themselves, the other bytes for the characters from U+0100 on.

/// Bytes <-> characters.
enum ByteCharacters {
    /// The bytes in the order of their ids in CLIP's vocabulary: printable ones first.
    static let bytesByID: [UInt8] = {
        let printable = Array(33...126) + Array(161...172) + Array(174...255) as [UInt8]
        let known = Set(printable)
        return printable + (0...255).filter { !known.contains($0) }
    }()

    /// The character of each byte.
    static let characters: [Unicode.Scalar] = {
        var result = [Unicode.Scalar](repeating: "\u{0}", count: 256)
        for (index, byte) in bytesByID.enumerated() {
            let value = index < 188 ? UInt32(byte) : 256 + UInt32(index - 188)
            result[Int(byte)] = Unicode.Scalar(value) ?? "\u{FFFD}"
        }
        return result
    }()

    private static let bytes = Dictionary(
        uniqueKeysWithValues: characters.enumerated().map { ($1, UInt8($0)) })

    /// The bytes that a token stands for; its own UTF-8 if one of its characters stands for no byte.
    static func bytes(of token: String) -> [UInt8] {
        var result: [UInt8] = []
        for scalar in token.unicodeScalars {
            guard let byte = bytes[scalar] else { return Array(token.utf8) }
            result.append(byte)
        }
        return result
    }
}
