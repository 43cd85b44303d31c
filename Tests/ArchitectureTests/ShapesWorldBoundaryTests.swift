// SPDX-License-Identifier: Apache-2.0
// The shapes world is on top: the targets below it do not know it, and few files above it use it.

import Foundation
import Testing

@Suite struct ShapesWorldBoundaryTests {
    /// The files of the command line that may import `ShapesWorld`: the registration and three commands.
    private static let users: Set = [
        "BundledWorld.swift", "DemoCommand.swift", "EvaluateCommand.swift", "TrainCommand.swift",
    ]

    /// Matches the world, its types, its module and its model name, but not the plural of "shape".
    private static var mentions: Regex<Substring> {
        get throws { try Regex(#"(?i:shapes[ -]?world)|\bShapes[A-Z]\w*|\bimport Shapes\b|["`]shapes["`]"#) }
    }

    private static func sources(in folder: String) throws -> [(path: String, text: String)] {
        let root = URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let base = root.appendingPathComponent(folder)
        return try FileManager.default.subpathsOfDirectory(atPath: base.path).sorted()
            .filter { path in [".swift", ".c", ".h", ".inc", ".modulemap"].contains { path.hasSuffix($0) } }
            .map { (folder + "/" + $0, try String(contentsOf: base.appendingPathComponent($0), encoding: .utf8)) }
    }

    @Test("nothing below ShapesWorld mentions it")
    func below() throws {
        let mention = try Self.mentions
        let above = ["Sources/App/ShapesWorld/", "Sources/App/BitsFusionCLI/"]
        let files = try Self.sources(in: "Sources").filter { file in !above.contains { file.path.hasPrefix($0) } }
        #expect(files.count > 200)
        for file in files {
            for (index, line) in file.text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
                if let found = line.firstMatch(of: mention)?.output {
                    Issue.record("\(file.path):\(index + 1): mentions '\(found)'")
                }
            }
        }
    }

    @Test("of the command line, only the registration and three commands import ShapesWorld")
    func imports() throws {
        let importing = try Self.sources(in: "Sources/App/BitsFusionCLI").filter { file in
            ImportScanner.imports(in: file.text).contains { $0.module == "ShapesWorld" }
        }
        let names = Set(importing.map { ($0.path as NSString).lastPathComponent })
        #expect(names.contains("BundledWorld.swift") && names.isSubset(of: Self.users), "\(names.sorted())")
    }

    @Test(
        "the pattern finds the world and not the plural of a shape",
        arguments: [
            ("the shapes world", true), ("import ShapesWorld", true), ("ShapesTokenizer", true), ("`shapes`", true),
            ("\"shapes\"", true), ("tensors of these shapes", false), ("Shapes of the inputs", false),
            ("shapes[0]", false),
        ])
    func pattern(text: String, isMention: Bool) throws {
        #expect(try (text.firstMatch(of: Self.mentions) != nil) == isMention)
    }
}
