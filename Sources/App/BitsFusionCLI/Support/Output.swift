// SPDX-License-Identifier: Apache-2.0
// The output of commands: results on standard output, everything else on standard error, checks of output files, and
// the manifest of written files.

import BitsFusion
import Foundation
import Synchronization

enum Output {
    /// Whether another process of the run prints.
    private static let silent = Atomic<Bool>(false)

    /// Also read in the signal handler.
    static var isSilent: Bool { silent.load(ordering: .relaxed) }

    /// Prints nothing from now on but the texts of `error`.
    static func silence() { silent.store(true, ordering: .relaxed) }

    /// Prints one line of a result.
    static func line(_ text: String) {
        guard !isSilent else { return }
        write(text + "\n", to: STDOUT_FILENO)
    }

    /// Prints one line about why the run ends, also of a process that prints nothing else.
    static func error(_ text: String) {
        write(text + "\n", to: STDERR_FILENO)
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
        guard !isSilent else { return }
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
        try checkCanCreate([path], keeping: inputs)
    }

    /// Checks before long work that the files at `paths` can be created, that none is an input or the output of another
    /// run, and that they are different files.
    ///
    /// - Throws: as for one path.
    static func checkCanCreate(_ paths: [String], keeping inputs: [String]) throws {
        let inputs = Set(inputs.compactMap(identity))
        var seen: Set<String> = []
        for (index, path) in paths.enumerated() {
            try checkName(path)
            try checkIsNoInput(path, inputs)
            guard seen.insert(PathParts.resolved(path)).inserted else {
                throw CommandError(.usage, "\(path): is the name of two outputs; choose different names")
            }
            guard index < lockLimit else { continue }
            _ = try PendingFile(path)
            try lock(path)
        }
    }

    /// Checks that `path`, which a run creates and removes next to its output, is not an input.
    ///
    /// - Throws: `CommandError`.
    static func checkIsNoInput(_ path: String, keeping inputs: [String]) throws {
        try checkIsNoInput(path, Set(inputs.compactMap(identity)))
    }

    /// The most outputs of one run that are locked, because every lock is an open file. Runs with more files still
    /// exclude each other by the first ones.
    private static let lockLimit = 100

    private static func lock(_ path: String) throws {
        // Commands of one run, such as those of the demo, write one after the other.
        try locks.withLock { locks in
            let key = PathParts.resolved(path)
            if locks[key] == nil { locks[key] = try OutputLock(path) }
        }
    }

    /// Checks that `path` is the name of an output.
    ///
    /// - Throws: `CommandError`.
    static func checkName(_ path: String) throws {
        guard !path.isEmpty else {
            throw CommandError(
                .usage, "--output: expected a file name, found none; choose one")
        }
        let name = PathParts(path).name.lowercased()
        guard ![".png", ".h5", ".json", ".safetensors"].contains(name) else {
            throw CommandError(.usage, "\(path): expected a name before the extension, found none; choose one")
        }
    }

    private static func checkIsNoInput(_ path: String, _ inputs: Set<FileIdentity>) throws {
        guard let file = identity(path), inputs.contains(file) else { return }
        throw CommandError(.usage, "\(path): is an input and would be overwritten; choose another --output")
    }

    /// What is equal for all paths and links of an existing file.
    private struct FileIdentity: Hashable {
        let device, number: UInt64
    }

    private static func identity(_ path: String) -> FileIdentity? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return FileIdentity(device: UInt64(truncatingIfNeeded: status.st_dev), number: UInt64(status.st_ino))
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

    /// The record of this run in the files that it writes. Its command line omits options that do not change the
    /// result, so that a resumed run and any number of processes write the same bytes.
    ///
    /// - Parameters:
    ///   - models: models that were read.
    ///   - inputs: paths of the other files that were read.
    ///   - named: further files with the names to record.
    ///   - seed: the seed of the run's random numbers, nil if it draws none.
    /// - Returns: the manifest, with the SHA-256 of every input.
    /// - Throws: `FileError` if an input cannot be read; `ShippedModelError`; `Interrupted`.
    static func manifest(
        models: [ModelReference] = [], inputs: [String] = [], named: [(name: String, path: String)] = [],
        seed: UInt64? = nil
    ) throws -> RunManifest {
        let files = try (inputs.map { ($0, $0) } + named).map { name, path in
            try InterruptFlag.check()
            return FileReference(path: name, sha256: try FileDigest.sha256(ofFile: path))
        }
        return RunManifest(
            toolVersion: toolVersion, commandLine: commandLine, seed: seed,
            inputs: try models.map { try $0.fileReference() } + files)
    }

    /// The command line without `--resume` and the options of processes, which do not change the output.
    static var commandLine: [String] { ["bitsfusion"] + recorded(Array(CommandLine.arguments.dropFirst())) }

    /// The arguments that must be the same in all processes.
    static var decidingArguments: [String] {
        removing(
            flags: ["-q", "--quiet"], options: ["--threads"], from: recorded(Array(CommandLine.arguments.dropFirst())))
    }

    static func recorded(_ arguments: [String]) -> [String] {
        removing(flags: ["--resume", "--shard-optimizer"], options: ["--watchdog"], from: arguments)
    }

    private static func removing(flags: [String], options: [String], from arguments: [String]) -> [String] {
        var kept: [String] = [], isValue = false
        for argument in arguments {
            let isOption = options.contains(argument)
            let isDropped =
                isValue || isOption || flags.contains(argument) || options.contains { argument.hasPrefix($0 + "=") }
            isValue = isOption && !isValue
            if !isDropped { kept.append(argument) }
        }
        return kept
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

    // MARK: Streams

    /// The errno of the first write to standard output that failed; 0: none did.
    private static let failureCode = Atomic<Int32>(0)

    /// The failure of standard output. A reader that closed a pipe early has what it wanted, which is none.
    static var failure: FileError? {
        let code = failureCode.load(ordering: .relaxed)
        return code == 0 || code == EPIPE ? nil : .streamFailed(name: "standard output", code: code)
    }

    /// Gives closed standard streams a file each, so that no file that is opened later becomes one of them. Writing to
    /// standard output fails as before.
    static func reserveStandardStreams() {
        for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO]
        where fcntl(descriptor, F_GETFD) == -1 && errno == EBADF {
            _ = open("/dev/null", descriptor == STDOUT_FILENO ? O_RDONLY : O_RDWR)
        }
    }

    private static func write(_ text: String, to descriptor: Int32) {
        let code = Array(text.utf8).withUnsafeBytes { writeAll($0, to: descriptor) }
        // That standard error cannot be written cannot be reported.
        guard code != 0, descriptor == STDOUT_FILENO else { return }
        _ = failureCode.compareExchange(expected: 0, desired: code, ordering: .relaxed)
    }
}
