// SPDX-License-Identifier: Apache-2.0
// The JSON reader for headers: accepts RFC 8259, refuses everything else at the right byte.

import Testing

@testable import Checkpoints
@testable import Files

@Suite struct StrictJSONTests {
    private func parse(_ text: String) throws(JSONFault) -> StrictJSON { try parse(Array(text.utf8)) }

    private func parse(_ bytes: [UInt8]) throws(JSONFault) -> StrictJSON {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { buffer.deallocate() }
        buffer.copyBytes(from: bytes)
        return try StrictJSON(UnsafeRawBufferPointer(buffer))
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
