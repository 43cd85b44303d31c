// SPDX-License-Identifier: Apache-2.0
// Runs the built program as a separate process in a temporary folder.

import Foundation
import TestKit
import Testing

/// The exit status and the output of one run of the program.
struct ProgramRun {
    let status: Int32
    let output: String
    let errors: String

    /// The lines on standard error.
    var errorLines: [String] { errors.split(separator: "\n").map(String.init) }
}

extension TemporaryFolder {
    /// Runs `bitsfusion` with `arguments` in this folder and waits for its end.
    @discardableResult
    func run(_ arguments: String...) throws -> ProgramRun { try run(arguments) }

    /// Runs `bitsfusion` with a list of arguments in this folder and waits for its end.
    @discardableResult
    func run(_ arguments: [String]) throws -> ProgramRun { try run(arguments) { $0.waitUntilExit() } }

    /// Runs `bitsfusion` with `arguments` in this folder and sends it `signal` after `seconds`, by default SIGKILL, the
    /// signal of the system's out-of-memory killer. The status is that of the signal, or the program's own.
    func run(_ arguments: [String], killedAfter seconds: Double, by signal: Int32 = SIGKILL) throws -> ProgramRun {
        try run(arguments) { process in
            let end = Date(timeIntervalSinceNow: seconds)
            while process.isRunning, Date() < end { Thread.sleep(forTimeInterval: 0.001) }
            if process.isRunning { kill(process.processIdentifier, signal) }
            process.waitUntilExit()
        }
    }

    /// Runs `bitsfusion` with `arguments` where no file may become larger than `blocks` of 512 bytes.
    func run(_ arguments: [String], fileLimit blocks: Int) throws -> ProgramRun {
        try run(shell: "ulimit -f \(blocks); exec \"$0\" \"$@\"", arguments)
    }

    /// Runs a shell script in this folder, in which `$0` is the program.
    func run(shell script: String, _ arguments: [String] = []) throws -> ProgramRun {
        let words = ["-c", script, try Self.program().path] + arguments
        return try run(words, of: URL(fileURLWithPath: "/bin/sh")) { $0.waitUntilExit() }
    }

    /// Runs `bitsfusion` with `arguments` in this folder and sends it `signal` as soon as the file `name` exists.
    func run(_ arguments: [String], signalledBy name: String, _ signal: Int32) throws -> ProgramRun {
        try run(arguments) { process in
            while process.isRunning, !names.contains(name) { Thread.sleep(forTimeInterval: 0.001) }
            kill(process.processIdentifier, signal)
            process.waitUntilExit()
        }
    }

    private func run(
        _ arguments: [String], of program: URL? = nil, waiting wait: (Process) -> Void
    ) throws -> ProgramRun {
        let process = Process()
        process.executableURL = try program ?? Self.program()
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

    /// The path of the program, which SwiftPM puts next to the test bundle.
    private static func program() throws -> URL {
        let bundles = Bundle.allBundles.filter { $0.bundlePath.hasSuffix(".xctest") }
        let homes = [Bundle.main.bundleURL] + bundles.map { $0.bundleURL.deletingLastPathComponent() }
        let candidates = homes.map { $0.appendingPathComponent("bitsfusion") }
        return try #require(
            candidates.first { FileManager.default.isExecutableFile(atPath: $0.path) },
            "no program next to the test bundle: \(candidates.map(\.path))")
    }
}
