// SPDX-License-Identifier: Apache-2.0
// Finds the modules that a Swift file imports. Comments and string literals are removed first, so that an import inside
// a string is not counted.

/// The imports of one Swift file.
enum ImportScanner {
    /// One import statement.
    struct Import: Equatable {
        let module: String
        /// Counted from 1.
        let line: Int
    }

    private static let accessLevels: Set = ["public", "package", "internal", "fileprivate", "private"]
    private static let declarationKinds: Set = [
        "typealias", "struct", "class", "enum", "protocol", "let", "var", "func",
    ]

    /// Every import of `source`, in order. `import struct A.B` imports the module A.
    static func imports(in source: String) -> [Import] {
        let lines = code(of: source).split(separator: "\n", omittingEmptySubsequences: false)
        return lines.enumerated().flatMap { index, line in
            line.split(separator: ";").compactMap { statement in
                module(importedBy: statement).map { Import(module: $0, line: index + 1) }
            }
        }
    }

    private static func module(importedBy statement: Substring) -> String? {
        var words = statement.split { $0 == " " || $0 == "\t" || $0 == "\r" }[...]
        while let word = words.first, word.hasPrefix("@") || accessLevels.contains(String(word)) {
            words.removeFirst()
        }
        guard words.popFirst() == "import" else { return nil }
        if let word = words.first, declarationKinds.contains(String(word)) { words.removeFirst() }
        return words.first?.split(separator: ".").first.map(String.init)
    }

    /// `source` without comments and string literals; line breaks are kept.
    private static func code(of source: String) -> String {
        var rest = source[...]
        var code = ""
        /// Skips to the end of `terminator`, or to the end of the line; line breaks in between are kept.
        func skip(to terminator: String, escape: String? = nil, withinLine: Bool = false) {
            while !rest.isEmpty, !rest.hasPrefix(terminator) {
                if withinLine, rest.first?.isNewline == true { return }
                if let escape, rest.hasPrefix(escape) { rest.removeFirst(escape.count) }
                if let character = rest.popFirst(), character.isNewline { code.append("\n") }
            }
            rest = rest.dropFirst(terminator.count)
        }
        while let character = rest.first {
            guard character == "/" || character == "#" || character == "\"" else {
                code.append(character)
                rest.removeFirst()
                continue
            }
            let hashes = String(rest.prefix { $0 == "#" })
            let quoted = rest.dropFirst(hashes.count)
            if rest.hasPrefix("//") {
                rest = rest.drop { !$0.isNewline }
            } else if rest.hasPrefix("/*") {
                rest.removeFirst(2)
                skip(to: "*/")
            } else if quoted.hasPrefix("\"\"\"") {
                rest = quoted.dropFirst(3)
                skip(to: "\"\"\"" + hashes, escape: "\\" + hashes)
            } else if quoted.hasPrefix("\"") {
                rest = quoted.dropFirst()
                skip(to: "\"" + hashes, escape: "\\" + hashes, withinLine: true)
            } else {
                code.append(character)
                rest.removeFirst()
            }
        }
        return code
    }
}
