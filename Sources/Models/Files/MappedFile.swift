// SPDX-License-Identifier: Apache-2.0
// A file mapped into memory, read-only. Pages are read when they are accessed, and not copied.

import Foundation

/// The bytes of a regular file, mapped during the lifetime of this object.
///
/// Truncating a mapped file crashes its readers. The writers of this program do not truncate files; they replace them
/// by renaming.
package final class MappedFile: @unchecked Sendable {
    /// The path given to the initializer.
    package let path: String
    /// All bytes of the file, page-aligned; empty for an empty file.
    package let bytes: UnsafeRawBufferPointer

    /// Maps the file at `path`.
    ///
    /// - Throws: `FileError.missingFile`, `.unreadable`, or `.wrongKind` for a folder or device.
    package init(_ path: String, expected: FileKind = .any) throws(FileError) {
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
