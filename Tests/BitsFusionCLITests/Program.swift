// SPDX-License-Identifier: Apache-2.0
// Runs the built program as a user would: a process of its own, in a folder of its own.

import Foundation
import Testing

/// What one run of the program left.
struct ProgramRun {
    let status: Int32
    let output: String
    let errors: String

    /// The lines on standard error.
    var errorLines: [String] { errors.split(separator: "\n").map(String.init) }
}

/// A folder that programs run in, removed with its last reference.
final class Workplace {
    let path: String

    init() throws {
        path =
            FileManager.default.temporaryDirectory.appendingPathComponent("bitsfusion-\(UUID().uuidString)")
            .path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { path + "/" + name }

    func write(_ text: String, to name: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: file(name)))
    }

    func contents(of name: String) throws -> Data {
        try Data(contentsOf: URL(fileURLWithPath: file(name)))
    }

    /// The names of all files, temporary ones included, sorted.
    var names: [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
    }

    /// Runs `bitsfusion` with `arguments` here and waits for its end.
    @discardableResult
    func run(_ arguments: String...) throws -> ProgramRun { try run(arguments) }

    /// As the other one, with a list.
    @discardableResult
    func run(_ arguments: [String]) throws -> ProgramRun { try run(arguments) { $0.waitUntilExit() } }

    /// Runs `bitsfusion` with `arguments` here and kills it after `seconds`, as the system does a process that needs too
    /// much memory. Its status is then 9, or its own where it was done before.
    func run(_ arguments: [String], killedAfter seconds: Double) throws -> ProgramRun {
        try run(arguments) { process in
            let end = Date(timeIntervalSinceNow: seconds)
            while process.isRunning, Date() < end { Thread.sleep(forTimeInterval: 0.001) }
            if process.isRunning { kill(process.processIdentifier, SIGKILL) }
            process.waitUntilExit()
        }
    }

    private func run(_ arguments: [String], waiting wait: (Process) -> Void) throws -> ProgramRun {
        let process = Process()
        process.executableURL = try Self.program()
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: path)
        // Pipes could fill up and block; files cannot.
        let (output, errors) = (file(".stdout"), file(".stderr"))
        for name in [output, errors] { try Data().write(to: URL(fileURLWithPath: name)) }
        process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: output))
        process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errors))
        try process.run()
        wait(process)
        defer { for name in [output, errors] { try? FileManager.default.removeItem(atPath: name) } }
        return ProgramRun(
            status: process.terminationStatus, output: try String(contentsOfFile: output, encoding: .utf8),
            errors: try String(contentsOfFile: errors, encoding: .utf8))
    }

    /// The program lies beside the test bundle, in debug and release builds alike.
    private static func program() throws -> URL {
        let bundles = Bundle.allBundles.filter { $0.bundlePath.hasSuffix(".xctest") }
        let homes = [Bundle.main.bundleURL] + bundles.map { $0.bundleURL.deletingLastPathComponent() }
        let candidates = homes.map { $0.appendingPathComponent("bitsfusion") }
        return try #require(
            candidates.first { FileManager.default.isExecutableFile(atPath: $0.path) },
            "the program is not beside the tests: \(candidates.map(\.path))")
    }
}
