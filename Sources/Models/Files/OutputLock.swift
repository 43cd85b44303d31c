// SPDX-License-Identifier: Apache-2.0
// A lock on an output file, so that of two runs with one output the second fails before its work, instead of replacing
// the file of the first.

import Foundation

/// A lock on the file at a path, held as long as this object exists.
///
/// The lock is that of the file `path.lock` (`flock`), which the system releases when a process ends in any way. A lock
/// file without a process is not a lock; the next run takes it over and removes it at its end.
package final class OutputLock: Sendable {
    private let lockPath: String
    private let descriptor: Int32

    /// Locks the output at `path`.
    ///
    /// - Throws: `FileError.inUse` if another run holds the lock, `.cannotCreate` if there can be no lock file.
    package init(_ path: String) throws(FileError) {
        lockPath = path + ".lock"
        while true {
            let opened = open(lockPath, O_RDONLY | O_CREAT | O_CLOEXEC, 0o666)
            guard opened >= 0 else { throw .cannotCreate(path: lockPath, code: errno) }
            // File systems without locks give other errors; runs on these are not protected.
            if flock(opened, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
                close(opened)
                throw .inUse(path: path)
            }
            // A run that ended after the call of `open` has removed the file, so that its lock protects nothing.
            if Self.isSame(opened, lockPath) {
                descriptor = opened
                return
            }
            close(opened)
        }
    }

    deinit {
        unlink(lockPath)
        close(descriptor)
    }

    private static func isSame(_ descriptor: Int32, _ path: String) -> Bool {
        var (opened, named) = (stat(), stat())
        return fstat(descriptor, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev
            && opened.st_ino == named.st_ino
    }
}
