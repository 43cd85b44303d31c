// SPDX-License-Identifier: Apache-2.0
// How CLIP's tokenizer in transformers >= 5 prepares text: NFC, white space to single spaces, lower case by scalar,
// then CLIP's pattern
//   <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
// Other than in transformers 4, there is no `ftfy`: broken encodings are not repaired.

import Foundation

/// Normalization and splitting into words.
enum CLIPTextSplitter {
    /// `text` in NFC and lower case, each run of white space as one space.
    static func normalize(_ text: some Sequence<Unicode.Scalar>) -> [Unicode.Scalar] {
        var scalars = Array(text)
        // Text without combining characters, which start at U+0300, is in NFC.
        if scalars.contains(where: { $0.value >= 0x300 }) {
            scalars = Array(string(scalars).precomposedStringWithCanonicalMapping.unicodeScalars)
        }
        var result: [Unicode.Scalar] = []
        result.reserveCapacity(scalars.count)
        for scalar in scalars {
            if scalar.properties.isWhitespace {
                if result.last != " " { result.append(" ") }
            } else if scalar.isASCII {
                result.append(("A"..."Z").contains(scalar) ? Unicode.Scalar(UInt8(scalar.value) + 32) : scalar)
            } else {
                // The full mapping of one scalar, without context: a final sigma stays a sigma.
                result += scalar.properties.lowercaseMapping.unicodeScalars
            }
        }
        return result
    }

    /// The words of normalized text. White space separates words and belongs to none.
    static func words(_ text: ArraySlice<Unicode.Scalar>) -> [ArraySlice<Unicode.Scalar>] {
        var words: [ArraySlice<Unicode.Scalar>] = []
        var rest = text
        while let first = rest.first {
            let length: Int
            if let marker = markers.first(where: { rest.starts(with: $0) }) {
                // The pattern keeps the marker whole; byte-level splitting, which follows, takes it apart.
                words.append(rest.prefix(2))
                words.append(rest.dropFirst(2).prefix(marker.count - 4))
                words.append(rest.dropFirst(marker.count - 2).prefix(2))
                rest = rest.dropFirst(marker.count)
                continue
            }
            if let contraction = contractions.first(where: { rest.starts(with: $0) }) {
                length = contraction.count
            } else {
                switch Kind(first) {
                case .space:
                    rest = rest.dropFirst()
                    continue
                case .number: length = 1
                case .letter: length = rest.prefix { Kind($0) == .letter }.count
                case .other: length = rest.prefix { Kind($0) == .other }.count
                }
            }
            words.append(rest.prefix(length))
            rest = rest.dropFirst(length)
        }
        return words
    }

    /// The scalars as a string.
    static func string(_ scalars: some Sequence<Unicode.Scalar>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }

    private static let markers = ["<|startoftext|>", "<|endoftext|>"].map { Array($0.unicodeScalars) }
    private static let contractions = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"].map { Array($0.unicodeScalars) }

    private enum Kind {
        case letter, number, space, other

        init(_ scalar: Unicode.Scalar) {
            if scalar.isASCII {
                switch scalar {
                case "a"..."z", "A"..."Z": self = .letter
                case "0"..."9": self = .number
                case " ", "\t"..."\r": self = .space
                default: self = .other
                }
                return
            }
            // The regular expressions of the `tokenizers` library know Unicode 16; later characters are neither letters
            // nor numbers to them.
            guard (scalar.properties.age?.major ?? 0) <= 16 else {
                self = .other
                return
            }
            switch scalar.properties.generalCategory {
            case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: self = .letter
            case .decimalNumber, .letterNumber, .otherNumber: self = .number
            default: self = scalar.properties.isWhitespace ? .space : .other
            }
        }
    }
}
