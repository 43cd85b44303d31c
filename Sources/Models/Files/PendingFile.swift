// SPDX-License-Identifier: Apache-2.0
// A file that is being written. It has a temporary name in the destination's folder, and takes the destination's name
// only when it is complete and on the disk. Until then the old file is unchanged.

import Foundation
import Synchronization

/// Temporary names that live writers of this process hold.
private let namesInUse = Mutex<Set<String>>([])

/// One file under a temporary name `destination.tmp-PID`, removed again unless `commit()` succeeds.
///
/// Temporary files of the same destination that killed processes left behind are removed when a new one is opened.
package final class PendingFile {
    /// The path of the finished file; symbolic links are followed, so that a link keeps pointing at the new content.
    package let destination: String
    /// The path of the unfinished file.
    package let temporaryPath: String
    private let descriptor: Int32
    private var isFinished = false

    /// Creates the empty temporary file.
    ///
    /// - Throws: `FileError.cannotCreate` where the folder is missing or not writable, or where a folder,
    ///   device or pipe exists at the path.
    package init(_ path: String) throws(FileError) {
        var status = stat()
        var mode: mode_t?
        if stat(path, &status) == 0 {
            let kind = status.st_mode & S_IFMT
            guard kind == S_IFREG else {
                throw .cannotCreate(path: path, code: kind == S_IFDIR ? EISDIR : EINVAL)
            }
            mode = status.st_mode & 0o7777
            destination = Self.resolved(path)
        } else {
            destination = path
        }
        Self.removeStaleFiles(of: destination)
        let base = "\(destination).tmp-\(getpid())"
        var attempt = 0
        while true {
            let candidate = attempt == 0 ? base : "\(base).\(attempt)"
            let isOurs = namesInUse.withLock { $0.insert(candidate).inserted }
            if isOurs {
                let opened = open(candidate, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
                if opened >= 0 {
                    temporaryPath = candidate
                    descriptor = opened
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
        namesInUse.withLock { _ = $0.remove(temporaryPath) }
    }

    /// Writes `bytes` from `offset` on; pieces may be written in any order.
    ///
    /// - Throws: `FileError.writeFailed`, with the system's errno.
    package func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
        let code = writeAll(bytes, to: descriptor, at: offset)
        if code != 0 { throw .writeFailed(path: destination, code: code) }
    }

    /// Writes an array of bytes from `offset` on.
    ///
    /// - Throws: as the buffer version.
    package func write(_ bytes: [UInt8], at offset: Int) throws(FileError) {
        var failure: FileError?
        bytes.withUnsafeBytes { buffer in
            do throws(FileError) { try write(buffer, at: offset) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Makes the file durable, then visible under its destination, then makes that durable too.
    ///
    /// - Throws: `FileError.writeFailed`; nothing is left behind then.
    package func commit() throws(FileError) {
        precondition(!isFinished, "PendingFile: \(destination) was committed before")
        isFinished = true
        let synced = fsync(descriptor) == 0
        let syncCode = errno
        let closed = close(descriptor) == 0
        guard synced, closed, rename(temporaryPath, destination) == 0 else {
            let code = synced ? errno : syncCode
            unlink(temporaryPath)
            throw .writeFailed(path: destination, code: code)
        }
        Self.syncFolder(of: destination)
    }

    /// A rename survives a power cut only when the folder has been synced. File systems that cannot do so (EINVAL) have
    /// nothing to sync, and the file itself is complete either way.
    private static func syncFolder(of path: String) {
        let folder = PathParts(path).folder
        let descriptor = open(folder.isEmpty ? "." : folder, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = fsync(descriptor)
        close(descriptor)
    }

    private static func resolved(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }

    /// Removes `path.tmp-PID` and `path.tmp-PID.n` of processes that no longer run.
    private static func removeStaleFiles(of path: String) {
        let parts = PathParts(path)
        let (folder, prefix) = (parts.folder, parts.name + ".tmp-")
        let names =
            (try? FileManager.default.contentsOfDirectory(atPath: folder.isEmpty ? "." : folder)) ?? []
        for name in names where name.hasPrefix(prefix) {
            let digits = name.dropFirst(prefix.count).prefix { $0 != "." }
            guard let process = pid_t(digits), process > 0 else { continue }
            let stale = parts.sibling(name)
            let isDead = kill(process, 0) != 0 && errno == ESRCH
            let isLeftover = process == getpid() && !namesInUse.withLock { $0.contains(stale) }
            if isDead || isLeftover { unlink(stale) }
        }
    }
}
