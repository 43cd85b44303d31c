// SPDX-License-Identifier: Apache-2.0
// What commands print and write: results on standard output, everything else on standard error, and the manifest that
// every written file carries.

import BitsFusion
import Foundation

enum Output {
    /// Prints one line of a result.
    static func line(_ text: String) {
        write(text + "\n", to: STDOUT_FILENO)
    }

    /// Prints a result for programs: indented JSON with sorted keys.
    ///
    /// - Throws: `EncodingError` for numbers that JSON cannot hold.
    static func json(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        line(String(decoding: try encoder.encode(value), as: UTF8.self))
    }

    /// Prints a line that is no result, whatever `--quiet` says: something that the user should know.
    static func warning(_ text: String) {
        toStandardError("bitsfusion: warning: \(text)\n")
    }

    static func toStandardError(_ text: String) {
        write(text, to: STDERR_FILENO)
    }

    /// Checks before long work that a file can be created at `path`, and that none of the inputs lies there.
    ///
    /// - Throws: `CheckpointError.cannotCreate`; `CommandError` where the output would take an input's place.
    static func checkCanCreate(_ path: String, keeping inputs: [String] = []) throws {
        guard !path.isEmpty else {
            throw CommandError(
                .usage, "expected the name of a file to write, found none; choose another --output")
        }
        for input in inputs where isSameFile(path, input) {
            throw CommandError(
                .usage, "\(path): is also an input and would be lost; choose another --output")
        }
        _ = try PendingFile(path)
    }

    /// Whether two paths lead to one existing file.
    private static func isSameFile(_ first: String, _ second: String) -> Bool {
        var (a, b) = (stat(), stat())
        guard stat(first, &a) == 0, stat(second, &b) == 0 else { return false }
        return a.st_dev == b.st_dev && a.st_ino == b.st_ino
    }

    /// Checks before long work that `bytes` fit on the disk that `path` lies on.
    ///
    /// - Throws: `CommandError`; nothing where the system does not tell.
    static func checkSpace(for path: String, bytes: Int) throws {
        let folder = PathParts(path).folder
        let attributes = try? FileManager.default.attributesOfFileSystem(
            forPath: folder.isEmpty ? "." : folder)
        guard let free = attributes?[.systemFreeSize] as? NSNumber, free.int64Value < bytes else { return }
        throw CommandError(
            .inputOutput,
            "\(path): needs \(Numbers.bytes(bytes)), and \(Numbers.bytes(Int(free.int64Value))) are free; "
                + "choose another disk")
    }

    /// The record of this run for a file that it writes. `--resume` is left out of its command line, so that a resumed
    /// run ends with the bytes of an uninterrupted one.
    ///
    /// - Parameters:
    ///   - models: models that were read.
    ///   - inputs: paths of the other files that were read.
    ///   - seed: the seed of the run's random numbers, nil where it drew none.
    /// - Returns: the manifest, with the SHA-256 of every input.
    /// - Throws: `CheckpointError` where an input cannot be read.
    static func manifest(
        models: [ModelReference] = [], inputs: [String] = [], seed: UInt64? = nil
    ) throws -> RunManifest {
        let files = try inputs.map {
            FileReference(path: $0, sha256: try FileDigest.sha256(ofFile: $0))
        }
        return RunManifest(
            toolVersion: toolVersion, commandLine: commandLine, seed: seed,
            inputs: try models.map { try $0.fileReference() } + files)
    }

    /// How to make the same again: whether a run was resumed makes no difference to what it writes.
    static var commandLine: [String] {
        ["bitsfusion"] + CommandLine.arguments.dropFirst().filter { $0 != "--resume" }
    }

    private static func write(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            // A reader that has gone, or a full disk behind a redirection: nobody is left to tell.
            guard count > 0 || errno == EINTR else { return }
            rest = rest.dropFirst(max(count, 0))
        }
    }
}
