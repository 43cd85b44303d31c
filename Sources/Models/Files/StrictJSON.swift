// SPDX-License-Identifier: Apache-2.0
// A small JSON reader for headers that must not be trusted. Unlike Foundation's it refuses duplicate keys, gives the
// byte where a document goes wrong, bounds its depth, and keeps numbers as text so that none is rounded. RFC 8259.

/// Where and why a document is not JSON, or not the JSON that was wanted. Offsets count bytes from 0.
public enum JSONFault: Error, Equatable, Sendable {
    case syntax(offset: Int, expected: String)
    case notUTF8
    case duplicateKey(String)
}

/// A JSON value; object members in the order of the document.
package enum StrictJSON: Equatable, Sendable {
    case object([Member])
    case array([StrictJSON])
    case string(String)
    /// The digits as written: the caller decides what range it accepts.
    case number(String)
    case bool(Bool)
    case null

    package struct Member: Equatable, Sendable {
        package let key: String
        package let value: StrictJSON
    }

    /// Parses one document; only whitespace may follow it.
    ///
    /// - Throws: `JSONFault`, with the byte offset (0 is the first byte) of the first wrong byte.
    package init(_ bytes: UnsafeRawBufferPointer) throws(JSONFault) {
        guard String(validating: bytes, as: UTF8.self) != nil else { throw .notUTF8 }
        var parser = JSONParser(bytes)
        self = try parser.document()
    }

    package var members: [Member]? { if case .object(let members) = self { members } else { nil } }
    package var elements: [StrictJSON]? { if case .array(let elements) = self { elements } else { nil } }
    package var text: String? { if case .string(let text) = self { text } else { nil } }

    /// The number as an integer in `0...Int.max`, written without sign, fraction, or exponent.
    package var count: Int? {
        guard case .number(let digits) = self, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
            return nil
        }
        return Int(digits)
    }
}

/// Recursive descent over bytes that are known to be UTF-8.
private struct JSONParser {
    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    private static let depthLimit = 128

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    mutating func document() throws(JSONFault) -> StrictJSON {
        let value = try value(depth: 0)
        skipWhitespace()
        guard position == bytes.count else { throw fault("the end of the document") }
        return value
    }

    private func fault(_ expected: String) -> JSONFault { .syntax(offset: position, expected: expected) }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipWhitespace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard let byte = next, UInt32(byte) == character.value else { return false }
        position += 1
        return true
    }

    private mutating func value(depth: Int) throws(JSONFault) -> StrictJSON {
        guard depth < Self.depthLimit else { throw fault("at most \(Self.depthLimit) nested values") }
        skipWhitespace()
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try literal("true", .bool(true))
        case UInt8(ascii: "f"): return try literal("false", .bool(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        default: return .number(try number())
        }
    }

    private mutating func literal(_ word: String, _ value: StrictJSON) throws(JSONFault) -> StrictJSON {
        for byte in word.utf8 {
            guard next == byte else { throw fault("\"\(word)\"") }
            position += 1
        }
        return value
    }

    private mutating func object(depth: Int) throws(JSONFault) -> StrictJSON {
        position += 1
        var members: [StrictJSON.Member] = []
        var keys: Set<String> = []
        skipWhitespace()
        if take("}") { return .object(members) }
        while true {
            skipWhitespace()
            guard next == UInt8(ascii: "\"") else { throw fault("a key in quotes") }
            let key = try string()
            guard keys.insert(key).inserted else { throw .duplicateKey(key) }
            skipWhitespace()
            guard take(":") else { throw fault("\":\"") }
            members.append(.init(key: key, value: try value(depth: depth + 1)))
            skipWhitespace()
            if take(",") { continue }
            guard take("}") else { throw fault("\",\" or \"}\"") }
            return .object(members)
        }
    }

    private mutating func array(depth: Int) throws(JSONFault) -> StrictJSON {
        position += 1
        var elements: [StrictJSON] = []
        skipWhitespace()
        if take("]") { return .array(elements) }
        while true {
            elements.append(try value(depth: depth + 1))
            skipWhitespace()
            if take(",") { continue }
            guard take("]") else { throw fault("\",\" or \"]\"") }
            return .array(elements)
        }
    }

    private mutating func number() throws(JSONFault) -> String {
        let start = position
        _ = take("-")
        if !take("0") { try digits() }
        if take(".") { try digits() }
        if take("e") || take("E") {
            if !take("+") { _ = take("-") }
            try digits()
        }
        return String(decoding: UnsafeRawBufferPointer(rebasing: bytes[start..<position]), as: UTF8.self)
    }

    private mutating func digits() throws(JSONFault) {
        let start = position
        while let byte = next, (0x30...0x39).contains(byte) { position += 1 }
        guard position > start else { throw fault("a JSON value") }
    }

    private mutating func string() throws(JSONFault) -> String {
        position += 1
        var content: [UInt8] = []
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                return String(decoding: content, as: UTF8.self)
            case UInt8(ascii: "\\"):
                position += 1
                content.append(contentsOf: Array(String(try escape()).utf8))
            case 0..<0x20:
                throw fault("no control character in a string")
            default:
                content.append(byte)
                position += 1
            }
        }
        throw fault("the closing quote of a string")
    }

    private mutating func escape() throws(JSONFault) -> Character {
        guard let byte = next else { throw fault("an escape") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{08}"
        case UInt8(ascii: "f"): return "\u{0C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): return try unicodeEscape()
        default:
            position -= 1
            throw fault("one of \"\\/bfnrtu after a backslash")
        }
    }

    private mutating func unicodeEscape() throws(JSONFault) -> Character {
        let high = try fourHexDigits()
        if let scalar = Unicode.Scalar(high) { return Character(scalar) }
        // Not a scalar by itself: the first half of a surrogate pair, or nothing.
        guard (0xD800..<0xDC00).contains(high), take("\\"), take("u") else { throw fault("a surrogate pair") }
        let low = try fourHexDigits()
        guard (0xDC00..<0xE000).contains(low),
            let scalar = Unicode.Scalar(0x10000 + (high - 0xD800) << 10 + (low - 0xDC00))
        else { throw fault("a surrogate pair") }
        return Character(scalar)
    }

    private mutating func fourHexDigits() throws(JSONFault) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw fault("four hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }
}
