// SPDX-License-Identifier: Apache-2.0
// Reads the table of targets in Docs/Architecture.md, which imports are checked against.

/// The targets, their levels, and what each may import.
struct ArchitectureMap {
    /// One row of the table.
    struct Target: Equatable {
        let level: Int
        /// The folder below `Sources/`, or `Benchmarks`.
        let wing: String
        let mayImport: Set<String>
    }

    /// Targets by name.
    let targets: [String: Target]
    /// Modules of the toolchain, which any target may import.
    let toolchain: Set<String>

    /// An inconsistent table, or an import that the table does not allow.
    enum Violation: Error, Equatable, CustomStringConvertible {
        case malformedRow(String)
        case repeatedTarget(String)
        /// The table itself lets `target` import a target that is not below it.
        case rowPointsUp(target: String, imports: String)
        case unknownTarget(String, file: String)
        case forbiddenImport(file: String, line: Int, target: String, imports: String)

        var description: String {
            switch self {
            case .malformedRow(let row): "Docs/Architecture.md: not a row of the table of targets: \(row)"
            case .repeatedTarget(let name): "Docs/Architecture.md: two rows for target \(name)"
            case .rowPointsUp(let target, let imported):
                "Docs/Architecture.md: \(target) may import \(imported), which is not of a lower level"
            case .unknownTarget(let name, let file):
                "\(file): target \(name) has no row in Docs/Architecture.md"
            case .forbiddenImport(let file, let line, let target, let imported):
                "\(file):\(line): \(target) must not import \(imported); see the table in Docs/Architecture.md"
            }
        }
    }

    /// Reads the table between `<!-- targets -->` and `<!-- end of targets -->`:
    ///
    ///     | 2 | Engine | `Layers` | what it is | `Tensors` |
    ///     | – | – | toolchain | what it is | `Foundation` |
    ///
    /// - Parameter document: Docs/Architecture.md.
    /// - Throws: `Violation` for a malformed table and for rows that point up.
    init(document: String) throws(Violation) {
        var targets: [String: Target] = [:]
        var toolchain: Set<String> = []
        let lines = document.split(separator: "\n").drop { $0 != "<!-- targets -->" }.dropFirst()
            .prefix { $0 != "<!-- end of targets -->" }
        for line in lines.dropFirst(2) {
            let cells = line.split(separator: "|").map(\.trimmed)
            guard cells.count == 5 else { throw .malformedRow(String(line)) }
            let imports = Set(Self.names(in: cells[4]))
            if cells[2] == "toolchain" {
                toolchain = imports
                continue
            }
            let names = Self.names(in: cells[2])
            guard let level = Int(cells[0]), !names.isEmpty else { throw .malformedRow(String(line)) }
            for name in names {
                guard targets[name] == nil else { throw .repeatedTarget(name) }
                targets[name] = Target(level: level, wing: cells[1], mayImport: imports)
            }
        }
        for (name, target) in targets.sorted(by: { $0.key < $1.key }) {
            for imported in target.mayImport.sorted() {
                guard let other = targets[imported], other.level >= target.level else { continue }
                throw .rowPointsUp(target: name, imports: imported)
            }
        }
        self.targets = targets
        self.toolchain = toolchain
    }

    /// The imports of one file that the table does not allow.
    ///
    /// - Parameters:
    ///   - source: the text of the file.
    ///   - file: the path of the file, for the message.
    ///   - name: the target of the file.
    /// - Returns: one violation for each such import, in order.
    func violations(in source: String, file: String, target name: String) -> [Violation] {
        guard let target = targets[name] else { return [.unknownTarget(name, file: file)] }
        return ImportScanner.imports(in: source)
            .filter { !target.mayImport.contains($0.module) && !toolchain.contains($0.module) }
            .map { .forbiddenImport(file: file, line: $0.line, target: name, imports: $0.module) }
    }

    /// The words in backticks in one cell.
    private static func names(in cell: String) -> [String] {
        cell.split(separator: "`", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map { String($0.element) }
    }
}

extension Substring {
    fileprivate var trimmed: String {
        String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
}
