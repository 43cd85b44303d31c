// SPDX-License-Identifier: Apache-2.0
// The output of commands: results on standard output, everything else on standard error, checks of output files, and
// the manifest of written files.

import BitsFusion
import Foundation
import Synchronization

enum Output {
    /// Prints one line of a result.
    static func line(_ text: String) {
        write(text + "\n", to: STDOUT_FILENO)
    }

    /// Prints a result for programs: indented JSON with sorted keys.
    ///
    /// - Throws: `EncodingError` for numbers that JSON cannot hold.
    static func json(_ value: some Encodable) throws {
        line(String(decoding: try JSONEncoder.document.encode(value), as: UTF8.self))
    }

    /// Prints a warning on standard error, also with `--quiet`.
    static func warning(_ text: String) {
        toStandardError("bitsfusion: warning: \(text)\n")
    }

    static func toStandardError(_ text: String) {
        write(text, to: STDERR_FILENO)
    }

    /// The outputs of this run, by path.
    private static let locks = Mutex<[String: OutputLock]>([:])

    /// Releases the outputs of this run; called at its end.
    static func releaseLocks() { locks.withLock { $0 = [:] } }

    /// Checks before long work that a file can be created at `path`, and that it is neither an input nor the output of
    /// another run, whose output it cannot become before the end of this run.
    ///
    /// - Throws: `FileError.cannotCreate`, `.inUse`; `CommandError` if the output would replace an input.
    static func checkCanCreate(_ path: String, keeping inputs: [String] = []) throws {
        guard !path.isEmpty else {
            throw CommandError(
                .usage, "--output: expected a file name, found none; choose one")
        }
        let name = PathParts(path).name.lowercased()
        guard ![".png", ".h5", ".json", ".safetensors"].contains(name) else {
            throw CommandError(.usage, "\(path): expected a name before the extension, found none; choose one")
        }
        for input in inputs where isSameFile(path, input) {
            throw CommandError(
                .usage, "\(path): is an input and would be overwritten; choose another --output")
        }
        _ = try PendingFile(path)
        // Commands of one run, such as those of the demo, write one after the other.
        try locks.withLock { locks in
            if locks[path] == nil { locks[path] = try OutputLock(path) }
        }
    }

    /// Whether two paths refer to the same existing file.
    private static func isSameFile(_ first: String, _ second: String) -> Bool {
        var (a, b) = (stat(), stat())
        guard stat(first, &a) == 0, stat(second, &b) == 0 else { return false }
        return a.st_dev == b.st_dev && a.st_ino == b.st_ino
    }

    /// Checks before long work that the disk of `path` has `bytes` free.
    ///
    /// - Throws: `CommandError`. Passes if the free space is unknown.
    static func checkSpace(for path: String, bytes: Int) throws {
        let folder = PathParts(path).folder
        let attributes = try? FileManager.default.attributesOfFileSystem(
            forPath: folder.isEmpty ? "." : folder)
        guard let free = attributes?[.systemFreeSize] as? NSNumber, free.int64Value < bytes else { return }
        throw CommandError(
            .inputOutput,
            "\(path): not enough space: expected \(Numbers.bytes(bytes)), found "
                + "\(Numbers.bytes(Int(free.int64Value))) free; choose another disk")
    }

    /// The record of this run in the files that it writes. Its command line omits `--resume`, so that a resumed run
    /// writes the same bytes as an uninterrupted one.
    ///
    /// - Parameters:
    ///   - models: models that were read.
    ///   - inputs: paths of the other files that were read.
    ///   - seed: the seed of the run's random numbers, nil if it draws none.
    /// - Returns: the manifest, with the SHA-256 of every input.
    /// - Throws: `FileError` if an input cannot be read; `ShippedModelError`; `Interrupted`.
    static func manifest(
        models: [ModelReference] = [], inputs: [String] = [], seed: UInt64? = nil
    ) throws -> RunManifest {
        let files = try inputs.map {
            try InterruptFlag.check()
            return FileReference(path: $0, sha256: try FileDigest.sha256(ofFile: $0))
        }
        return RunManifest(
            toolVersion: toolVersion, commandLine: commandLine, seed: seed,
            inputs: try models.map { try $0.fileReference() } + files)
    }

    /// The command line without `--resume`, which does not change the output.
    static var commandLine: [String] {
        ["bitsfusion"] + CommandLine.arguments.dropFirst().filter { $0 != "--resume" }
    }

    // MARK: Files

    /// Writes float32 tensors to the safetensors file `path`, which appears when complete.
    ///
    /// - Throws: `FileError.cannotCreate`, `.writeFailed`.
    static func tensors(_ tensors: [(name: String, value: Tensor)], to path: String) throws {
        let announced = tensors.map { ($0.name, StoredTensor(type: .float32, shape: $0.value.shape)) }
        let writer = try SafetensorsWriter(path, tensors: Dictionary(uniqueKeysWithValues: announced))
        for (name, value) in tensors {
            try value.withUnsafeBufferPointer { try writer.write(name, UnsafeRawBufferPointer($0)) }
        }
        try writer.finish()
    }

    private static func write(_ text: String, to descriptor: Int32) {
        // A closed pipe or a full disk cannot be reported.
        _ = Array(text.utf8).withUnsafeBytes { writeAll($0, to: descriptor) }
    }
}
