// SPDX-License-Identifier: Apache-2.0
// A lock on an output file, so that of two runs with one output the second fails before its work, instead of replacing
// the file of the first.

import Foundation

/// A lock on the file at a path, held as long as this object exists.
///
/// The lock is that of the file `path.lock` (`flock`), which the system releases when a process ends in any way. An
/// empty lock file without a process is not a lock; the next run takes it over and removes it at its end. All spellings
/// of a path have the same lock.
package final class OutputLock: Sendable {
    private let lockPath: String
    private let descriptor: Int32
    private let unfinished: UnfinishedFiles.Entry

    /// Locks the output at `path`.
    ///
    /// - Throws: `FileError.inUse` if another run holds the lock, `.notALock` if another file has the name of the lock
    ///   file, `.cannotCreate` if there can be no lock file.
    package init(_ path: String) throws(FileError) {
        lockPath = PathParts.resolved(path) + ".lock"
        UnfinishedFiles.beginCreation()
        defer { UnfinishedFiles.endCreation() }
        while true {
            // Neither follows links nor waits for the writer of a pipe.
            let opened = open(lockPath, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o666)
            guard opened >= 0 else {
                let code = errno
                throw [ELOOP, EISDIR].contains(code)
                    ? .notALock(path: path + ".lock") : .cannotCreate(path: path + ".lock", code: code)
            }
            guard Self.isLockFile(opened) else {
                close(opened)
                throw .notALock(path: path + ".lock")
            }
            // File systems without locks give other errors; runs on these are not protected.
            if flock(opened, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
                close(opened)
                throw .inUse(path: path)
            }
            // A run that ended after the call of `open` has removed the file, so that its lock protects nothing.
            if Self.isSame(opened, lockPath) {
                descriptor = opened
                unfinished = UnfinishedFiles.add(lockPath)
                return
            }
            close(opened)
        }
    }

    deinit {
        // A file of this name that is not the lock, or has got content, belongs to someone else.
        if Self.isLockFile(descriptor), Self.isSame(descriptor, lockPath) { unlink(lockPath) }
        unfinished.remove()
        close(descriptor)
    }

    /// Lock files are regular and empty.
    private static func isLockFile(_ descriptor: Int32) -> Bool {
        var status = stat()
        return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && status.st_size == 0
    }

    private static func isSame(_ descriptor: Int32, _ path: String) -> Bool {
        var (opened, named) = (stat(), stat())
        return fstat(descriptor, &opened) == 0 && lstat(path, &named) == 0 && opened.st_dev == named.st_dev
            && opened.st_ino == named.st_ino
    }
}
