// SPDX-License-Identifier: Apache-2.0
// Checks that the files and symbols that Docs/Method.md names exist.

import Foundation
import Testing

@Suite struct MethodDocumentTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// The keywords of Swift that declare the name that follows them.
    private static let declarations = ["class", "struct", "enum", "protocol", "func", "var", "let", "case"]

    /// The names that a file declares at its top level or as members of a type at its top level. Names local to a function
    /// are indented further.
    private static func declaredNames(in source: String) -> Set<String> {
        let lines = source.split(separator: "\n").filter { $0.prefix { $0 == " " }.count <= 4 }
        return Set(
            lines.flatMap { line in
                let words = line.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
                return zip(words, words.dropFirst()).filter { declarations.contains(String($0.0)) }
                    .map { String($0.1) }
            })
    }

    private static func words(inBackticks cell: Substring) -> [String] {
        cell.split(separator: "`", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map { String($0.element) }
    }

    @Test("every file that Docs/Method.md names declares the symbols of its row")
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
            let declared = Self.declaredNames(in: source)
            let named = Self.words(inBackticks: cells[3])
            #expect(!named.isEmpty, "\(file)")
            for symbol in named { #expect(declared.contains(symbol), "\(file) does not declare \(symbol)") }
        }
    }
}
