// SPDX-License-Identifier: Apache-2.0
// Checks the imports of every Swift file of Sources/ and Benchmarks/ against the table in Docs/Architecture.md.

import Foundation
import Testing

@Suite struct ImportTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private static func map() throws -> ArchitectureMap {
        try ArchitectureMap(
            document: String(
                contentsOf: root.appendingPathComponent("Docs/Architecture.md"), encoding: .utf8))
    }

    /// Three targets, one above the other.
    private static let example = """
        <!-- targets -->
        | level | wing | target | one idea | may import |
        |---|---|---|---|---|
        | 0 | System | `CBottom`, `Plain` | system library, documents | |
        | 1 | Engine | `Middle` | arithmetic | `CBottom` |
        | 2 | App | `Top` | commands | `Middle`, `ArgumentParser` |
        | – | – | toolchain | comes with Swift | `Foundation` |
        <!-- end of targets -->
        """

    /// The folder of a target in the folder of its wing.
    private struct Folder: Hashable {
        let wing, target, path: String
    }

    /// The folders of targets: `Sources/<wing>/<target>` and `Benchmarks/<target>`. `Sources/Python` and
    /// `Benchmarks/pytorch` are not targets.
    private static func targetFolders() throws -> [Folder] {
        let wings = try folders(in: "Sources").filter { $0 != "Python" }.flatMap { wing in
            try folders(in: "Sources/" + wing).map {
                Folder(wing: wing, target: $0, path: "Sources/\(wing)/\($0)")
            }
        }
        let benchmarks = try folders(in: "Benchmarks").filter { $0 != "pytorch" }.map {
            Folder(wing: "Benchmarks", target: $0, path: "Benchmarks/" + $0)
        }
        return wings + benchmarks
    }

    private static func folders(in parent: String) throws -> [String] {
        let url = root.appendingPathComponent(parent)
        return try FileManager.default.contentsOfDirectory(atPath: url.path).filter { name in
            var isFolder: ObjCBool = false
            let path = url.appendingPathComponent(name).path
            return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && isFolder.boolValue
                && !name.hasPrefix(".")
        }.sorted()
    }

    @Test("every file of a target imports only what Docs/Architecture.md lets the target import")
    func sources() throws {
        let map = try Self.map()
        var checked = 0
        for folder in try Self.targetFolders() {
            let paths = try FileManager.default
                .subpathsOfDirectory(atPath: Self.root.appendingPathComponent(folder.path).path)
                .filter { $0.hasSuffix(".swift") }.map { "\(folder.path)/\($0)" }.sorted()
            checked += paths.count
            for path in paths {
                let text = try String(contentsOf: Self.root.appendingPathComponent(path), encoding: .utf8)
                for violation in map.violations(in: text, file: path, target: folder.target) {
                    Issue.record(violation)
                }
            }
        }
        #expect(checked > 100)
    }

    @Test("the table in Docs/Architecture.md has a row for each target, in its wing, and no other")
    func rows() throws {
        let folders = Dictionary(uniqueKeysWithValues: try Self.targetFolders().map { ($0.target, $0.wing) })
        #expect(try Self.map().targets.mapValues(\.wing) == folders)
    }

    @Test("an upward, a sideways and an unlisted import are each reported with file and line")
    func violations() throws {
        let map = try ArchitectureMap(document: Self.example)
        let source = """
            // SPDX-License-Identifier: Apache-2.0
            import CBottom
            @_exported public import Top
            import Foundation; import Plain
            internal import class Middle.Thing
            """
        #expect(
            map.violations(in: source, file: "a.swift", target: "Middle") == [
                .forbiddenImport(file: "a.swift", line: 3, target: "Middle", imports: "Top"),
                .forbiddenImport(file: "a.swift", line: 4, target: "Middle", imports: "Plain"),
                .forbiddenImport(file: "a.swift", line: 5, target: "Middle", imports: "Middle"),
            ])
        #expect(map.violations(in: "import Middle\nimport ArgumentParser", file: "a", target: "Top").isEmpty)
        #expect(map.violations(in: "", file: "a", target: "New") == [.unknownTarget("New", file: "a")])
    }

    @Test("words in comments, strings and conditions are not imports")
    func scanning() {
        let source = """
            // import A
            /* import B
            import C */ import D
            #if canImport(E)
                @preconcurrency import F.G
            #endif
            let text = "import H"; let quote = "\\"; import I"
            let program = \"\"\"
                import J
                \"\"\"
            let raw = #"a "quoted"; import K"#
            importantCall()
            """
        #expect(
            ImportScanner.imports(in: source) == [
                .init(module: "D", line: 3), .init(module: "F", line: 5),
            ])
    }

    @Test("a table that lets a target import its own level or a higher one is refused")
    func pointingUp() {
        let upward = Self.example.replacingOccurrences(of: "| `CBottom` |", with: "| `CBottom`, `Top` |")
        #expect(throws: ArchitectureMap.Violation.rowPointsUp(target: "Middle", imports: "Top")) {
            try ArchitectureMap(document: upward)
        }
        let sideways = Self.example.replacingOccurrences(of: "| 2 | App | `Top`", with: "| 1 | App | `Top`")
        #expect(throws: ArchitectureMap.Violation.rowPointsUp(target: "Top", imports: "Middle")) {
            try ArchitectureMap(document: sideways)
        }
    }

    @Test("a malformed or repeated row is refused")
    func malformed() {
        #expect(throws: ArchitectureMap.Violation.repeatedTarget("Middle")) {
            try ArchitectureMap(document: Self.example.replacingOccurrences(of: "`Top`", with: "`Middle`"))
        }
        #expect(
            throws: ArchitectureMap.Violation.malformedRow(
                "| two | App | `Top` | commands | `Middle`, `ArgumentParser` |")
        ) {
            try ArchitectureMap(document: Self.example.replacingOccurrences(of: "| 2 |", with: "| two |"))
        }
    }
}
