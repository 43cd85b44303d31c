// SPDX-License-Identifier: Apache-2.0
// Recorded texts in Snapshots/. `make snapshots` (RECORD_SNAPSHOTS=1) writes them again.

import Foundation
import Testing

/// A recorded text.
struct Snapshot {
    /// Whether texts are written instead of compared.
    static let isRecording = ProcessInfo.processInfo.environment["RECORD_SNAPSHOTS"] == "1"

    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("Snapshots")

    let name: String
    private var url: URL { Self.folder.appendingPathComponent(name + ".txt") }

    /// The recorded text; empty if there is none.
    var text: String { (try? String(contentsOf: url, encoding: .utf8)) ?? "" }

    func record(_ text: String) throws {
        try FileManager.default.createDirectory(at: Self.folder, withIntermediateDirectories: true)
        try Data(text.utf8).write(to: url, options: .atomic)
    }

    /// Compares `text` with the recorded one and shows the lines that differ; records it if that is requested.
    func expect(_ text: String) throws {
        if Self.isRecording { return try record(text) }
        let difference = Self.difference(from: self.text, to: text)
        #expect(difference.isEmpty, "\(name).txt differs; run `make snapshots` if this is intended:\n\(difference)")
    }

    /// The removed lines with `-`, the added ones with `+`, in their order; empty for equal texts.
    static func difference(from old: String, to new: String) -> String {
        let (old, new) = (old.components(separatedBy: "\n"), new.components(separatedBy: "\n"))
        return new.difference(from: old).map { change in
            switch change {
            case .remove(let offset, let line, _): (offset, "- \(line)")
            case .insert(let offset, let line, _): (offset, "+ \(line)")
            }
        }.sorted { $0.0 < $1.0 }.map(\.1).joined(separator: "\n")
    }
}

/// The error lines of many command lines in one file: for each `$ COMMAND`, then `[STATUS] LINE`.
final class ErrorSnapshot: @unchecked Sendable {
    private let snapshot: Snapshot
    /// All command lines, in the order of the file.
    private let commands: [String]
    private let lock = NSLock()
    private var recorded: [String: String] = [:]

    init(_ name: String, commands: [String]) {
        snapshot = Snapshot(name: name)
        self.commands = commands
        let lines = snapshot.text.split(separator: "\n").map(String.init)
        for (command, error) in zip(lines, lines.dropFirst()) where command.hasPrefix("$ ") {
            recorded[String(command.dropFirst(2))] = error
        }
    }

    /// The commands of the file that are not run any more.
    var obsolete: [String] { lock.withLock { recorded.keys.filter { !commands.contains($0) }.sorted() } }

    /// Compares the error line of `command` with the recorded one, or records it.
    func expect(_ command: String, status: Int32, line: String) throws {
        let error = "[\(status)] \(line)"
        let expected: String? = try lock.withLock {
            guard Snapshot.isRecording else { return recorded[command] }
            recorded[command] = error
            let known = commands.compactMap { name in recorded[name].map { "$ \(name)\n\($0)\n" } }
            try snapshot.record(known.joined(separator: "\n"))
            return error
        }
        #expect(
            error == expected, "\(snapshot.name).txt differs; run `make snapshots` if this is intended")
    }
}
