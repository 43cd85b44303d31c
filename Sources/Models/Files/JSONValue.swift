// SPDX-License-Identifier: Apache-2.0
// A JSON document as a tree, for headers, for configs whose keys may have values of several types, and for comparisons.

import Foundation

/// A JSON value; object members in the order of the document.
package enum JSONValue: Sendable {
    case object([Member])
    case array([JSONValue])
    case string(String)
    /// The number as written in the document.
    case number(String)
    case bool(Bool)
    case null

    package struct Member: Equatable, Sendable {
        package let key: String
        package let value: JSONValue
    }

    /// Parses one document; only white space may follow it.
    ///
    /// - Parameters:
    ///   - bytes: UTF-8.
    ///   - allowsNonFinite: accepts `NaN`, `Infinity` and `-Infinity` as numbers, which Python writes.
    /// - Throws: `JSONFault`, with the byte offset (0 is the first byte) of the first wrong byte.
    package init(_ bytes: UnsafeRawBufferPointer, allowsNonFinite: Bool = false) throws(JSONFault) {
        guard String(validating: bytes, as: UTF8.self) != nil else { throw .notUTF8 }
        var parser = JSONParser(bytes, allowsNonFinite: allowsNonFinite)
        self = try parser.document()
    }

    /// Parses one document in memory.
    ///
    /// - Throws: as `init(_:allowsNonFinite:)` for a buffer.
    package init(_ json: some ContiguousBytes, allowsNonFinite: Bool = false) throws(JSONFault) {
        let result = json.withUnsafeBytes { bytes in
            Result { () throws(JSONFault) in try JSONValue(bytes, allowsNonFinite: allowsNonFinite) }
        }
        self = try result.get()
    }

    /// `value` as a JSON number that is decoded to exactly the same value.
    package static func double(_ value: Double) -> JSONValue {
        if let integer = Int(exactly: value) { return .number("\(integer)") }
        if value.isNaN { return .number("NaN") }
        return .number(value.isFinite ? "\(value)" : value > 0 ? "Infinity" : "-Infinity")
    }

    package var members: [Member]? { if case .object(let members) = self { members } else { nil } }
    package var elements: [JSONValue]? { if case .array(let elements) = self { elements } else { nil } }
    package var text: String? { if case .string(let text) = self { text } else { nil } }

    /// The value of `key` in an object; nil for other values and missing keys.
    package subscript(_ key: String) -> JSONValue? { members?.first { $0.key == key }?.value }

    /// A number as the nearest Double; nil for other values.
    package var double: Double? {
        guard case .number(let text) = self else { return nil }
        switch text {
        case "NaN": return .nan
        case "Infinity": return .infinity
        case "-Infinity": return -.infinity
        default: return Double(text)
        }
    }

    /// A number without a fractional part as Int, such as 2 or 2.0; nil for other values (2.5, "2", true).
    package var integer: Int? {
        guard case .number(let text) = self else { return nil }
        return Int(text) ?? double.flatMap { Int(exactly: $0) }
    }

    /// A number in `0...Int.max`, written without sign, fraction, or exponent.
    package var count: Int? {
        guard case .number(let digits) = self, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
            return nil
        }
        return Int(digits)
    }
}

extension JSONValue: Equatable {
    /// Compares by value: objects regardless of the order of keys, numbers regardless of their notation.
    package static func == (left: JSONValue, right: JSONValue) -> Bool {
        switch (left, right) {
        case (.object(let a), .object(let b)):
            guard a.count == b.count else { return false }
            let values = Dictionary(uniqueKeysWithValues: b.map { ($0.key, $0.value) })
            return a.allSatisfy { values[$0.key] == $0.value }
        case (.array(let a), .array(let b)): return a == b
        case (.string(let a), .string(let b)): return a == b
        case (.number(let a), .number(let b)):
            if a == b { return a != "NaN" }
            // Integers that are no exact Doubles differ although their Doubles are equal.
            if let a = UInt64(a), let b = UInt64(b) { return a == b }
            return left.double == right.double
        case (.bool(let a), .bool(let b)): return a == b
        case (.null, .null): return true
        default: return false
        }
    }
}

extension JSONValue: CustomStringConvertible {
    /// Compact JSON text with sorted keys, for error messages.
    package var description: String {
        switch self {
        case .null: return "null"
        case .bool(let value): return String(value)
        case .number(let text):
            return integer.map(String.init) ?? UInt64(text).map(String.init) ?? double.map { "\($0)" } ?? text
        case .string(let value): return "\"\(value.inOneLine)\""
        case .array(let values): return "[" + values.map(\.description).joined(separator: ", ") + "]"
        case .object(let members):
            let sorted = members.sorted { $0.key < $1.key }.map { "\"\($0.key.inOneLine)\": \($0.value)" }
            return "{" + sorted.joined(separator: ", ") + "}"
        }
    }
}

/// The location and cause of invalid JSON. Offsets count bytes from 0.
public enum JSONFault: Error, Equatable, Sendable {
    case syntax(offset: Int, expected: String)
    case notUTF8
    case duplicateKey(String)
}

extension JSONFault: CustomStringConvertible {
    public var description: String {
        switch self {
        case .syntax(let offset, let expected): "expected \(expected) at byte \(offset)"
        case .notUTF8: "it is not UTF-8"
        case .duplicateKey(let key): "the key \"\(key.inOneLine)\" occurs twice"
        }
    }
}

/// A JSON document of a file that is not valid.
public struct JSONError: Error, Equatable, Sendable {
    /// The file that contains the document.
    public let file: String
    /// The document, such as `config.json` or a path inside the file.
    public let document: String
    public let fault: JSONFault

    public init(file: String, document: String, fault: JSONFault) {
        self.file = file
        self.document = document
        self.fault = fault
    }

    /// Checks that `text` is a JSON object; `NaN` and `Infinity` are numbers, as in Python.
    ///
    /// - Returns: the object.
    /// - Throws: `JSONError`.
    @discardableResult
    package static func checkObject(_ text: String, file: String, document: String) throws(JSONError) -> JSONValue {
        do throws(JSONFault) {
            let value = try JSONValue(Array(text.utf8), allowsNonFinite: true)
            guard value.members != nil else { throw .syntax(offset: 0, expected: "an object") }
            return value
        } catch {
            throw JSONError(file: file, document: document, fault: error)
        }
    }
}

extension JSONError: CategorizedError {
    public var category: ErrorCategory { .badData }
    public var description: String { "\(file): \(document) is not valid: \(fault)" }
}
