// SPDX-License-Identifier: Apache-2.0
// The Swift code in README.md is the code of Snippets/, which `swift build` compiles.

import Foundation
import Testing

@Suite struct SnippetTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
    }

    /// The text between two lines, without them.
    private static func lines(of text: String, from first: String, to last: String) -> String {
        text.components(separatedBy: "\n").drop { $0 != first }.dropFirst().prefix { $0 != last }
            .joined(separator: "\n").trimmingCharacters(in: .newlines)
    }

    @Test("every block after a snippet marker in README.md is the shown part of that snippet")
    func readme() throws {
        let readme = try Self.text("README.md")
        let names = readme.matches(of: /<!-- snippet (\w+) -->/).map { String($0.output.1) }
        #expect(!names.isEmpty)
        for name in names {
            let block = Self.lines(of: readme, from: "<!-- snippet \(name) -->", to: "<!-- end of snippet -->")
            let shown = Self.lines(
                of: try Self.text("Snippets/\(name).swift"), from: "// snippet.show", to: "// snippet.end")
            #expect(!shown.isEmpty)
            #expect(block == "```swift\n\(shown)\n```", "copy Snippets/\(name).swift to README.md")
        }
    }
}
