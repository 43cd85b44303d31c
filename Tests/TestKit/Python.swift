// SPDX-License-Identifier: Apache-2.0
// Runs small Python programs, to check our files against the libraries that others will open them with.

import Foundation

/// A Python that has a given module, if this machine has one.
public enum Python {
    /// `BITSFUSION_PYTHON`, or `python3` on the path.
    public static var command: String { ProcessInfo.processInfo.environment["BITSFUSION_PYTHON"] ?? "python3" }

    /// Whether `modules` can be imported; asked once per set of modules.
    public static func has(_ modules: String...) -> Bool {
        (try? run("import " + modules.joined(separator: ", "))) != nil
    }

    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    /// Runs `program` and returns what it printed.
    ///
    /// - Throws: `Failure` with stderr where it exits with another status than 0.
    @discardableResult
    public static func run(_ program: String, _ arguments: String...) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [command, "-c", program] + arguments
        let output = Pipe()
        let errors = Pipe()
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        let printed = output.fileHandleForReading.readDataToEndOfFile()
        let complaints = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(description: String(decoding: complaints, as: UTF8.self))
        }
        return String(decoding: printed, as: UTF8.self)
    }
}
