// SPDX-License-Identifier: Apache-2.0
// The JSON reader for headers: accepts RFC 8259, refuses everything else at the right byte.

import Foundation
import Testing

@testable import Files

@Suite struct JSONValueTests {
    @Test("a config with a repeated key is refused by its name")
    func repeatedConfigKey() {
        #expect(throws: ConfigError.duplicateKey(document: "config.json", key: "a")) {
            try JSONValue(parsing: Data(#"{"a": 1, "b": {}, "a": 2}"#.utf8), name: "config.json")
        }
    }

    @Test("names are quoted where they are no plain words, and shortened")
    func names() {
        #expect(named("down.0.weight") == "down.0.weight")
        #expect(named("") == "\"\"" && named("\n") == "\"\\n\"" && named("a b") == "\"a b\"")
        #expect(named(String(repeating: "x", count: 101)) == String(repeating: "x", count: 100) + "...")
        #expect(listed(["a", ""]) == "a, \"\"")
        #expect(counted(1, "tensor") == "1 tensor" && counted(0, "tensor") == "0 tensors")
    }

    private func parse(_ text: String) throws(JSONFault) -> JSONValue { try parse(Array(text.utf8)) }

    private func parse(_ bytes: [UInt8]) throws(JSONFault) -> JSONValue {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { buffer.deallocate() }
        buffer.copyBytes(from: bytes)
        return try JSONValue(UnsafeRawBufferPointer(buffer))
    }

    @Test("values of every kind are read, members in their order")
    func kinds() throws {
        let value = try parse(#" {"b": [1, -2.5e+3, true, false, null], "a": "x", "c": {}, "d": []} "#)
        let members = try #require(value.members)
        #expect(members.map(\.key) == ["b", "a", "c", "d"])
        #expect(
            members[0].value.elements == [.number("1"), .number("-2.5e+3"), .bool(true), .bool(false), .null])
        #expect(members[1].value.text == "x")
    }

    @Test(
        "escapes are resolved, surrogate pairs joined",
        arguments: [
            (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{08}\u{0C}\n\r\t"), (#""\u00e9""#, "é"),
            (#""\ud83d\ude00""#, "😀"),
            (#""é😀""#, "é😀"), (#""\u0000""#, "\0"),
        ])
    func escapes(_ document: String, _ text: String) throws {
        #expect(try parse(document).text == text)
    }

    @Test(
        "what is not JSON is refused at the byte where it goes wrong",
        arguments: [
            ("", 0), ("{", 1), ("[1,]", 3), ("{\"a\" 1}", 5), ("nul", 3), ("01", 1), ("1.", 2), ("+1", 0),
            ("\"a", 2),
            ("\"\n\"", 1), (#""\x""#, 2), (#""\u12g4""#, 5), (#""\ud800""#, 7), ("{} {}", 3), ("[1 2]", 3),
            ("{1:2}", 1),
        ])
    func syntax(_ document: String, _ offset: Int) {
        let fault = #expect(throws: JSONFault.self) { try parse(document) }
        guard case .syntax(offset, _) = fault else {
            Issue.record("\(document): \(String(describing: fault))")
            return
        }
    }

    @Test("duplicate keys, bytes that are not UTF-8, and endless nesting are refused")
    func hostile() {
        #expect(throws: JSONFault.duplicateKey("a")) { try parse(#"{"a": 1, "\u0061": 2}"#) }
        #expect(throws: JSONFault.notUTF8) { try parse([0x22, 0xFF, 0x22]) }
        #expect(throws: JSONFault.syntax(offset: 128, expected: "at most 128 nested values")) {
            try parse(String(repeating: "[", count: 1_000_000))
        }
    }

    @Test("NaN and Infinity are numbers only where they are allowed", arguments: ["NaN", "Infinity", "-Infinity"])
    func nonFinite(_ text: String) throws {
        #expect(throws: JSONFault.self) { try parse(text) }
        let value = try JSONValue(Array("[\(text)]".utf8), allowsNonFinite: true).elements?.first
        #expect(value == .number(text) || text == "NaN")
        #expect(value?.double?.isFinite == false)
    }

    @Test(
        "documents are compared by value: order of keys and notation of numbers do not count",
        arguments: [
            (#"{"a": 1, "b": [2.0]}"#, #"{"b": [2], "a": 1e0}"#, true), ("1", "2", false), ("1", "\"1\"", false),
            ("18446744073709551615", "18446744073709551614", false), (#"{"a": 1}"#, #"{"a": 1, "b": 1}"#, false),
        ])
    func comparison(_ first: String, _ second: String, _ areEqual: Bool) throws {
        #expect(try (parse(first) == parse(second)) == areEqual)
    }

    @Test("a tree comes back through Codable, and reads as text")
    func codable() throws {
        let json = #"{"a":[1,2.5,18446744073709551615,"x",true,null],"b":{}}"#
        let value = try JSONDecoder().decode(JSONValue.self, from: Data(json.utf8))
        #expect(try value == parse(json))
        #expect(try String(decoding: JSONEncoder.compact.encode(value), as: UTF8.self) == json)
        #expect(value.description == #"{"a": [1, 2.5, 18446744073709551615, "x", true, null], "b": {}}"#)
    }

    @Test(
        "counts are integers from 0 to 2^63-1, nothing else",
        arguments: [
            ("0", 0), ("9223372036854775807", Int.max), ("9223372036854775808", nil), ("-1", nil),
            ("1.0", nil),
            ("1e3", nil), ("\"1\"", nil),
        ] as [(String, Int?)])
    func counts(_ document: String, _ count: Int?) throws {
        #expect(try parse(document).count == count)
    }
}
