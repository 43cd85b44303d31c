// SPDX-License-Identifier: Apache-2.0
// Files that are being written. A file has a temporary name in the folder of the destination, and is renamed to the
// destination when it is complete and synced to disk. Until then the old file is unchanged.

import Foundation
import Synchronization

/// The temporary names that are in use in this process.
private let namesInUse = Mutex<Set<String>>([])

/// A file with the temporary name `destination.tmp-PID`. It is removed unless `commit()` succeeds.
///
/// The initializer also removes temporary files of killed processes for the same destination.
package final class PendingFile {
    /// The path of the complete file. Symbolic links are resolved, so that a link then refers to the new file.
    package let destination: String
    /// The path of the temporary file.
    package let temporaryPath: String
    private let descriptor: Int32
    private let unfinished: UnfinishedFiles.Entry
    private var isFinished = false

    /// Creates the empty temporary file.
    ///
    /// - Throws: `FileError.cannotCreate` if the folder is missing or not writable, or if a folder, device or pipe
    ///   exists at `path`.
    package init(_ path: String) throws(FileError) {
        var status = stat()
        var mode: mode_t?
        if stat(path, &status) == 0 {
            let kind = status.st_mode & S_IFMT
            guard kind == S_IFREG else {
                throw .cannotCreate(path: path, code: kind == S_IFDIR ? EISDIR : EINVAL)
            }
            mode = status.st_mode & 0o7777
            destination = PathParts.resolved(path)
        } else {
            destination = path
        }
        Self.removeStaleFiles(of: destination)
        let base = "\(destination).tmp-\(getpid())"
        UnfinishedFiles.beginCreation()
        defer { UnfinishedFiles.endCreation() }
        var attempt = 0
        while true {
            let candidate = attempt == 0 ? base : "\(base).\(attempt)"
            let isOurs = namesInUse.withLock { $0.insert(candidate).inserted }
            if isOurs {
                let opened = open(candidate, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
                if opened >= 0 {
                    temporaryPath = candidate
                    descriptor = opened
                    unfinished = UnfinishedFiles.add(candidate)
                    if let mode { _ = fchmod(opened, mode) }
                    return
                }
                let code = errno
                namesInUse.withLock { _ = $0.remove(candidate) }
                guard code == EEXIST else { throw .cannotCreate(path: path, code: code) }
            }
            attempt += 1
        }
    }

    deinit {
        if !isFinished {
            close(descriptor)
            unlink(temporaryPath)
        }
        unfinished.remove()
        namesInUse.withLock { _ = $0.remove(temporaryPath) }
    }

    /// Writes `bytes` at `offset`, in bytes. Parts of the file can be written in any order.
    ///
    /// - Throws: `FileError.writeFailed`.
    package func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
        let code = writeAll(bytes, to: descriptor, at: offset)
        if code != 0 { throw .writeFailure(destination, code) }
    }

    /// Writes an array of bytes at `offset`, in bytes.
    ///
    /// - Throws: `FileError.writeFailed`.
    package func write(_ bytes: [UInt8], at offset: Int) throws(FileError) {
        var failure: FileError?
        bytes.withUnsafeBytes { buffer in
            do throws(FileError) { try write(buffer, at: offset) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Syncs the file to disk, renames it to the destination, and syncs the folder.
    ///
    /// - Throws: `FileError.writeFailed`; the temporary file is removed.
    package func commit() throws(FileError) {
        precondition(!isFinished, "PendingFile: \(destination) was committed before")
        isFinished = true
        let synced = fsync(descriptor) == 0
        let syncCode = errno
        let closed = close(descriptor) == 0
        guard synced, closed, rename(temporaryPath, destination) == 0 else {
            let code = synced ? errno : syncCode
            unlink(temporaryPath)
            throw .writeFailure(destination, code)
        }
        Self.syncFolder(of: destination)
    }

    /// Syncs the folder of `path`, so that a power failure does not undo the rename. Errors are ignored, because not
    /// all file systems support this (EINVAL), and the file is complete in any case.
    static func syncFolder(of path: String) {
        let folder = PathParts(path).folder
        let descriptor = open(folder.isEmpty ? "." : folder, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = fsync(descriptor)
        close(descriptor)
    }

    /// Removes files `path.tmp-PID` and `path.tmp-PID.n` of processes that do not exist any more.
    private static func removeStaleFiles(of path: String) {
        let parts = PathParts(path)
        for (name, process) in temporaryEntries(of: parts.folder, prefix: parts.name + ".tmp-") {
            let stale = parts.sibling(name)
            let isLeftover = process == getpid() && !namesInUse.withLock { $0.contains(stale) }
            if isDead(process) || isLeftover { unlink(stale) }
        }
    }

    /// The entries `prefixPID` and `prefixPID.n` of a folder, with the process that made each.
    static func temporaryEntries(of folder: String, prefix: String) -> [(name: String, process: pid_t)] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.isEmpty ? "." : folder)) ?? []
        return names.filter { $0.hasPrefix(prefix) }.compactMap { name in
            pid_t(name.dropFirst(prefix.count).prefix { $0 != "." }).flatMap { $0 > 0 ? (name, $0) : nil }
        }
    }

    static func isDead(_ process: pid_t) -> Bool { kill(process, 0) != 0 && errno == ESRCH }
}
