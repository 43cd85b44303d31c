// SPDX-License-Identifier: Apache-2.0
// Docs/Method.md leads from the paper to files and symbols; what it names must be there.

import Foundation
import Testing

@Suite struct MethodDocumentTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// The words that declare something in Swift, as they stand before its name.
    private static let declarations = ["class", "struct", "enum", "protocol", "func", "var", "let", "case"]

    private static func words(inBackticks cell: Substring) -> [String] {
        cell.split(separator: "`", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map { String($0.element) }
    }

    @Test("every file that Docs/Method.md names declares the symbols named beside it")
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
            let words = source.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
            let declared = Set(
                zip(words, words.dropFirst()).filter { Self.declarations.contains(String($0.0)) }
                    .map { String($0.1) })
            let named = Self.words(inBackticks: cells[3])
            #expect(!named.isEmpty, "\(file)")
            for symbol in named { #expect(declared.contains(symbol), "\(file) does not declare \(symbol)") }
        }
    }
}
