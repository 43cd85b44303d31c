// SPDX-License-Identifier: Apache-2.0
// A file mapped read-only into memory: nothing is read before it is used, and nothing is copied.

import Foundation

/// The bytes of a regular file for as long as this object lives.
///
/// Shortening the file meanwhile is the one thing that mapping cannot survive; writers here never do so, because they
/// replace files by renaming.
package final class MappedFile: @unchecked Sendable {
    /// The path as given.
    package let path: String
    /// All of it; empty for an empty file. Page-aligned.
    package let bytes: UnsafeRawBufferPointer

    /// Maps the file at `path`.
    ///
    /// - Throws: `FileError.missingFile`, `.unreadable`, or `.wrongKind` for a folder or device.
    package init(_ path: String, expected: FileKind = .unknown) throws(FileError) {
        self.path = path
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .readFailure(path, errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .readFailure(path, errno) }
        let kind = status.st_mode & S_IFMT
        guard kind == S_IFREG else {
            throw .wrongKind(path: path, expected: expected, found: kind == S_IFDIR ? .folder : .special)
        }
        let count = Int(status.st_size)
        guard count > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let address = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), address != MAP_FAILED
        else {
            throw .unreadable(path: path, code: errno)
        }
        bytes = UnsafeRawBufferPointer(start: address, count: count)
    }

    deinit {
        if let address = bytes.baseAddress {
            munmap(UnsafeMutableRawPointer(mutating: address), bytes.count)
        }
    }
}
