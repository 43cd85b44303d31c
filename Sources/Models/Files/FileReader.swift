// SPDX-License-Identifier: Apache-2.0
// A file read at given offsets. Unlike mapped pages, bytes that were read do not count as the program's memory, so that
// a file larger than the memory can be copied piece by piece.

import Foundation

/// An open file. Safe to read from several threads.
package final class FileReader: Sendable {
    /// The path as given.
    package let path: String
    private let descriptor: Int32

    /// Opens the file at `path`.
    ///
    /// - Throws: `FileError.missingFile` or `.unreadable`.
    package init(_ path: String) throws(FileError) {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .readFailure(path, errno) }
    }

    deinit { close(descriptor) }

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// - Throws: `FileError.unreadable`, with `EIO` where the file ends before.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(FileError) {
        guard let start = buffer.baseAddress else { return }
        var done = 0
        while done < buffer.count {
            // Linux reads at most 2 GiB - 4 KiB per call; macOS refuses more than 2 GiB - 1.
            let got = pread(descriptor, start + done, min(buffer.count - done, 1 << 30), off_t(offset + done))
            if got > 0 {
                done += got
            } else if got == 0 {
                throw .unreadable(path: path, code: EIO)
            } else if errno != EINTR {
                throw .unreadable(path: path, code: errno)
            }
        }
    }
}
