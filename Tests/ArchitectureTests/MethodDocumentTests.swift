// SPDX-License-Identifier: Apache-2.0
// Docs/Method.md maps the paper to files and symbols; each file must declare the symbols of its row.

import Foundation
import Testing

@Suite struct MethodDocumentTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private static func words(inBackticks cell: Substring) -> [String] {
        cell.split(separator: "`", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map { String($0.element) }
    }

    @Test("every file in Docs/Method.md declares the symbols of its row, at the top level or as members")
    func symbols() throws {
        let document = try String(
            contentsOf: Self.root.appendingPathComponent("Docs/Method.md"), encoding: .utf8)
        let rows = document.split(separator: "\n").filter { $0.hasPrefix("|") && $0.contains(".swift` |") }
        #expect(rows.count > 20)
        for row in rows {
            let cells = row.dropFirst().split(separator: "|", omittingEmptySubsequences: false)
            let file = try #require(Self.words(inBackticks: cells[2]).first)
            let source = try String(
                contentsOf: Self.root.appendingPathComponent("Sources/" + file), encoding: .utf8)
            let declared = SwiftDeclarations(in: source).names
            let named = Self.words(inBackticks: cells[3])
            #expect(!named.isEmpty, "\(file)")
            for symbol in named { #expect(declared.contains(symbol), "\(file) does not declare \(symbol)") }
        }
    }

    @Test("local names, cases of switches and words in comments and strings are not declarations")
    func localNames() {
        let source = """
            // struct Comment
            public struct Outer<T> where T: Equatable {
                let member = { let inClosure = 1; return inClosure }()
                enum Inner: String { case first, second }
                func method(argument: Int) -> Int {
                    let local = "struct Text {"
                    switch local { case let matched: return matched.count }
                }
                class func typeMethod() {}
            }
            extension Outer { var property: Int { var inGetter = 0; return inGetter } }
            /* enum Block { */ func free() { struct Nested {} }
            """
        #expect(
            SwiftDeclarations(in: source).names == [
                "Outer", "member", "Inner", "first", "method", "typeMethod", "property", "free",
            ])
    }
}

/// The names that a Swift file declares at its top level and as members of types and extensions.
///
/// A scan of words and braces: a name counts if all braces around it open types. Of several names after one keyword
/// the first counts.
struct SwiftDeclarations {
    private(set) var names: Set<String> = []

    private static let types: Set = ["class", "struct", "enum", "protocol", "extension", "actor"]
    private static let members: Set = ["func", "var", "let", "case"]

    init(in source: String) {
        // Whether each open brace belongs to a type.
        var scopes: [Bool] = []
        var opensType = false
        var keyword: Substring?
        for token in Self.tokens(of: source) {
            switch token {
            case "{":
                scopes.append(opensType)
                (opensType, keyword) = (false, nil)
            case "}":
                _ = scopes.popLast()
                (opensType, keyword) = (false, nil)
            case _ where Self.types.contains(String(token)):
                (opensType, keyword) = (true, token == "extension" ? nil : token)
            case "init", "subscript":
                (opensType, keyword) = (false, nil)
            case _ where Self.members.contains(String(token)):
                (opensType, keyword) = (false, token)
            default:
                if keyword != nil, scopes.allSatisfy({ $0 }) { names.insert(String(token)) }
                keyword = nil
            }
        }
    }

    /// Words and braces outside of comments and strings.
    private static func tokens(of source: String) -> [Substring] {
        let pattern =
            #/
            (?<comment> \/\/ [^\n]* | \/\* (?s:.*?) \*\/ )
            | (?<string> """ (?s:.*?) """ | " (?: [^"\\\n] | \\. )* " )
            | (?<token> [{}] | [\p{L}_] [\p{L}\p{N}_]* )
            /#
        return source.matches(of: pattern).compactMap(\.output.token)
    }
}
