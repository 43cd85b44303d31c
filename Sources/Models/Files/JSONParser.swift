// SPDX-License-Identifier: Apache-2.0
// A JSON parser (RFC 8259) for untrusted files. Unlike the parser of Foundation, it rejects duplicate keys, reports the
// offset of the first error, limits the depth, and keeps numbers as text, so that they are not rounded.

/// A recursive descent parser. The bytes must be valid UTF-8.
struct JSONParser {
    private let bytes: UnsafeRawBufferPointer
    private let allowsNonFinite: Bool
    private var position = 0
    private static let depthLimit = 128

    init(_ bytes: UnsafeRawBufferPointer, allowsNonFinite: Bool) {
        self.bytes = bytes
        self.allowsNonFinite = allowsNonFinite
    }

    mutating func document() throws(JSONFault) -> JSONValue {
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

    private mutating func value(depth: Int) throws(JSONFault) -> JSONValue {
        guard depth < Self.depthLimit else { throw fault("at most \(Self.depthLimit) nested values") }
        skipWhitespace()
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try literal("true", .bool(true))
        case UInt8(ascii: "f"): return try literal("false", .bool(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        case UInt8(ascii: "N") where allowsNonFinite: return try literal("NaN", .number("NaN"))
        case UInt8(ascii: "I") where allowsNonFinite: return try literal("Infinity", .number("Infinity"))
        default: return .number(try number())
        }
    }

    private mutating func literal(_ word: String, _ value: JSONValue) throws(JSONFault) -> JSONValue {
        for byte in word.utf8 {
            guard next == byte else { throw fault("\"\(word)\"") }
            position += 1
        }
        return value
    }

    private mutating func object(depth: Int) throws(JSONFault) -> JSONValue {
        position += 1
        var members: [JSONValue.Member] = []
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

    private mutating func array(depth: Int) throws(JSONFault) -> JSONValue {
        position += 1
        var elements: [JSONValue] = []
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
        if take("-"), allowsNonFinite, next == UInt8(ascii: "I") {
            _ = try literal("Infinity", .null)
            return "-Infinity"
        }
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
        // Most strings have no escapes and are taken as a whole.
        let start = position
        while let byte = next, byte >= 0x20, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") { position += 1 }
        let plain = UnsafeRawBufferPointer(rebasing: bytes[start..<position])
        if next == UInt8(ascii: "\"") {
            position += 1
            return String(decoding: plain, as: UTF8.self)
        }
        var content = Array(plain)
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
        // Other values must be the first half of a surrogate pair.
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
